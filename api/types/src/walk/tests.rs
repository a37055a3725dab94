use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::kinds::KINDS;

/// Any small value, for a place that asks for something else.
fn anything() -> BoxedStrategy<Value> {
    let numbers = prop_oneof![
        Just(json!(-1)),
        Just(json!(1.5)),
        Just(json!(u64::MAX)),
        Just(json!(i64::MIN)),
        Just(json!(1e300))
    ];
    let texts = prop_oneof![Just(json!("")), Just(json!("x")), Just(json!("5")), Just(json!("\u{0}é\n"))];
    let single = prop_oneof![numbers, texts, Just(Value::Null), any::<bool>().prop_map(Value::from)];
    single
        .prop_recursive(2, 6, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-c]", inner, 0..3).prop_map(|entries| json!(entries)),
            ]
        })
        .boxed()
}

/// A value that mostly fits `shape`, in one place of many anything.
fn roughly(shape: &Shape) -> BoxedStrategy<Value> {
    let fits = match shape {
        Shape::Any => anything(),
        Shape::Scalar(scalar) => single(scalar),
        Shape::Map(inner) => prop::collection::btree_map("[a-c]", roughly(inner), 0..3)
            .prop_map(|entries| json!(entries))
            .boxed(),
        Shape::List(inner, _) => prop::collection::vec(roughly(inner), 0..3).prop_map(Value::from).boxed(),
        Shape::Object(fields) => {
            let field = |(name, shape): (&String, &Shape)| {
                (Just(name.clone()), prop::option::weighted(0.4, roughly(shape)))
            };
            let fields: Vec<_> = fields.known.iter().map(field).collect();
            fields.prop_map(|fields| object(fields.into_iter())).boxed()
        }
    };
    prop_oneof![30 => fits, 1 => anything()].boxed()
}

fn object(fields: impl Iterator<Item = (String, Option<Value>)>) -> Value {
    Value::Object(fields.filter_map(|(name, value)| Some((name, value?))).collect::<Map<_, _>>())
}

fn single(scalar: &Scalar) -> BoxedStrategy<Value> {
    match scalar {
        Scalar::Text => "[a-z]{0,3}".prop_map(Value::from).boxed(),
        Scalar::Choice(words) => prop::sample::select(words.clone()).prop_map(Value::from).boxed(),
        Scalar::Time => {
            let times =
                ["2026-11-21T07:45:35Z", "2026-11-21T07:45:35.5+01:00", "9999-12-31T23:59:59Z", "2026-13-01"];
            prop::sample::select(times.to_vec()).prop_map(Value::from).boxed()
        }
        Scalar::Quantity => {
            let amounts =
                [json!("1Gi"), json!(3), json!(0.1), json!("5x"), json!("9999999999999Ti"), json!(1e30)];
            prop::sample::select(amounts.to_vec()).boxed()
        }
        Scalar::IntOrText => {
            prop::sample::select(vec![json!(1), json!("25%"), json!(i64::MIN), json!(u64::MAX)]).boxed()
        }
        Scalar::Truth => any::<bool>().prop_map(Value::from).boxed(),
        Scalar::Whole(least, most) => {
            let around = [*least, least - 1, *most, most + 1, 0, 1];
            let exact = |number: i128| {
                i64::try_from(number).map(Value::from).or(u64::try_from(number).map(Value::from))
            };
            let numbers: Vec<Value> = around.into_iter().filter_map(|number| exact(number).ok()).collect();
            prop::sample::select(numbers).boxed()
        }
        Scalar::Number => any::<i32>().prop_map(Value::from).boxed(),
    }
}

fn trees() -> impl Strategy<Value = (usize, Value)> {
    let kinds: Vec<BoxedStrategy<(usize, Value)>> =
        KINDS.iter().enumerate().map(|(index, kind)| (Just(index), roughly(kind.shape())).boxed()).collect();
    proptest::strategy::Union::new(kinds)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..berth_cases::cases(500) })]

    #[test]
    fn what_the_shape_lets_pass_reads_as_the_kind((kind, tree) in trees()) {
        for fault in KINDS[kind].validate(&tree) {
            prop_assert!(!fault.message.contains("does not read as"), "{fault}");
        }
    }

    #[test]
    fn what_is_made_to_fit_fits((kind, tree) in trees()) {
        let shape = KINDS[kind].shape();
        let mut faults = Faults::default();
        walk(shape, &fitting(shape, &tree), Extent::Whole, &mut faults);
        // A stand-in may be the double of another, or lack the key of its list: that is no matter of reading.
        let left: Vec<_> = faults.into_vec();
        let telling_apart = |rule| matches!(rule, Rule::Duplicate | Rule::Required);
        prop_assert!(left.iter().all(|fault| telling_apart(fault.rule)), "{left:?}");
    }

    #[test]
    fn any_tree_is_judged(tree in anything()) {
        for kind in &KINDS {
            let faults = kind.validate(&tree);
            prop_assert!(!faults.is_empty(), "{} {tree}", kind.kind);
        }
    }
}

#[test]
fn a_path_of_a_fault_leads_to_its_place() {
    use crate::path::{Step, steps};
    let kind = KINDS.iter().find(|kind| kind.kind == "App").expect("in the table");
    let tree = json!({
        "metadata": {"labels": {"berth.dev/x": 1}},
        "spec": {"template": {"spec": {"containers": [{"env": [{"value": 1}]}]}}},
    });
    let found = kind.validate(&tree);
    for wrong in found.iter().filter(|fault| fault.rule == Rule::Type) {
        let mut place = &tree;
        for step in steps(&wrong.path) {
            place = match step {
                Step::Root => place,
                Step::Field(name) | Step::Entry(name) => &place[name],
                Step::Item(index) => &place[index],
            };
        }
        assert_eq!(place, &json!(1), "{}", wrong.path);
    }
    assert_eq!(found.iter().filter(|fault| fault.rule == Rule::Type).count(), 2);
}

#[test]
fn a_long_list_leaves_room_for_the_set_of_its_fields() {
    let kind = KINDS.iter().find(|kind| kind.kind == "App").expect("in the table");
    let fields: Map<String, Value> =
        (0..1001).map(|n| (format!("k:{{\"name\":\"{n}\"}}"), json!({}))).collect();
    let managed = json!([{"manager": "ctl", "fieldsV1": {"f:spec": fields}}]);
    let found = kind.validate(&json!({"metadata": {"managedFields": managed}}));
    assert!(found.iter().all(|fault| !fault.path.contains("managedFields")), "{found:?}");
}
