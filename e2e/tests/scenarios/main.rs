//! Scenarios end to end: real processes, real containers, a real store; one fault each, then what must happen in the
//! end and what must hold all along. One world at a time.

use berth_e2e::StoreForm::{self, Embedded, Etcd};
use libtest_mimic::{Arguments, Failed, Trial};

mod replicas;

const ETCD: StoreForm = Etcd("3.5.1");
const OLD_ETCD: StoreForm = Etcd("3.4.23");

/// A scenario on one store.
fn on(name: &str, form: StoreForm, scenario: fn(StoreForm)) -> Trial {
    let store = match form {
        Embedded => "embedded".to_string(),
        Etcd(version) => format!("etcd {version}"),
    };
    Trial::test(format!("{name} ({store})"), move || {
        scenario(form);
        Ok::<(), Failed>(())
    })
}

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    if !arguments.list {
        berth_e2e::namespaces::enter();
    }
    let mut trials = Vec::new();
    for form in [Embedded, ETCD, OLD_ETCD] {
        trials.push(on(
            "three_replicas_answer_and_leave_nothing",
            form,
            replicas::three_replicas_answer_and_leave_nothing,
        ));
    }
    libtest_mimic::run(&arguments, trials).exit();
}
