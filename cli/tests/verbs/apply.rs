//! What `apply` takes, refuses and states.

use expect_test::expect;

use super::{WEB, World, other_manager_sets_replicas};

#[test]
fn what_get_prints_can_be_applied_again() {
    let world = World::start();
    world.write("web.yaml", WEB);
    world.run("apply -f web.yaml");
    for (form, file) in [("yaml", "all.yaml"), ("json", "all.json")] {
        let (code, printed, _) = world.run(&format!("get apps -o {form}"));
        assert_eq!(code, 0);
        world.write(file, &printed);
        world.shows(
            &[&format!("apply -f {file}")],
            match form {
                "yaml" => expect![[r#"
                    $ ctl apply -f all.yaml
                    app/web unchanged
                "#]],
                _ => expect![[r#"
                    $ ctl apply -f all.json
                    app/web unchanged
                "#]],
            },
        );
    }
    world.run("delete app/web");
    world.shows(
        &["apply -f all.yaml"],
        expect![[r#"
        $ ctl apply -f all.yaml
        app/web created
    "#]],
    );
}

#[test]
fn texts_that_other_readers_misread_are_quoted_in_every_dump() {
    let world = World::start();
    // As they are written in a manifest, and in a dump.
    let texts = [
        ("'on'", "'on'"),
        ("'off'", "'off'"),
        ("'y'", "'y'"),
        ("'n'", "'n'"),
        ("'yes'", "'yes'"),
        ("'1:30'", "'1:30'"),
        ("'1_000'", "'1_000'"),
        (r#""a\u0085b""#, r#""a\u0085b""#),
    ];
    let variable = |(number, text): (usize, &str)| format!("{{name: V{number}, value: {text}}}");
    let variables: Vec<String> = texts.iter().map(|text| text.0).enumerate().map(variable).collect();
    let container =
        format!("{{name: web, command: [sleep, '100', 'on', '1:30'], env: [{}]}}", variables.join(", "));
    let spec = format!("{{spec: {{containers: [{container}]}}}}");
    world.write(
        "odd.yaml",
        &format!(
            "apiVersion: berth.dev/v1\nkind: App\nmetadata:\n  name: web\n  labels: {{'on': 'y', 'n': '1_000'}}\n  \
             annotations: {{'off': '1:30', 'yes': {odd}, '1_000': 'on'}}\nspec: {{template: {spec}}}\n---\n\
             apiVersion: berth.dev/v1\nkind: Revision\nmetadata: {{name: web-1}}\nspec: {{number: 1, template: \
             {spec}}}\n",
            odd = texts[7].0,
        ),
    );
    assert_eq!(world.run("apply -f odd.yaml").0, 0);
    let (_, dump, _) = world.run("get apps,revisions -o yaml");
    let (_, described, _) = world.run("describe revision/web-1");
    let has = |text: &str, line: &str| text.lines().any(|one| one.trim() == line);
    for (_, quoted) in texts {
        for text in [&dump, &described] {
            assert!(has(text, &format!("value: {quoted}")), "{quoted} in {text}");
        }
    }
    for line in
        ["'on': 'y'", "'n': '1_000'", "'off': '1:30'", r#"'yes': "a\u0085b""#, "'1_000': 'on'", "- 'on'"]
    {
        assert!(has(&dump, line), "{line} in {dump}");
    }
    world.write("dump.yaml", &dump);
    world.shows(
        &["apply -f dump.yaml"],
        expect![[r#"
            $ ctl apply -f dump.yaml
            app/web unchanged
            revision/web-1 unchanged
        "#]],
    );
}

#[test]
fn namespaces_come_first_and_a_wrong_one_is_shown_in_its_line() {
    let world = World::start();
    world.write(
        "all.yaml",
        &format!(
            "{}---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: shop}}\n",
            WEB.replace("  name: web\n  l", "  name: web\n  namespace: shop\n  l")
        ),
    );
    world.write("web.yaml", WEB);
    world.shows(
        &[
            "apply -f all.yaml",
            "apply -n market -f all.yaml",
            "get apps",
            "get apps -A",
            "get apps,ns -n shop",
            "apply -n market -f web.yaml",
        ],
        expect![[r#"
            $ ctl apply -f all.yaml
            namespace/shop created
            app/web created
            $ ctl apply -n market -f all.yaml
            ! error: metadata.namespace: is `shop`, but the command line says --namespace market
            !   --> all.yaml:5:14   (document 1, app/web)
            !    |
            !  5 |   namespace: shop
            !    |              ^^^^
            !
            ! 1 error in 1 of 2 documents; nothing was applied
            exit code 2
            $ ctl get apps
            ! no apps found in namespace default
            $ ctl get apps -A
            NAMESPACE   NAME   READY   UPDATED   AVAILABLE   STATUS    AGE
            shop        web    0/2     0         0           Pending   Ns
            $ ctl get apps,ns -n shop
            NAME      READY   UPDATED   AVAILABLE   STATUS    AGE
            app/web   0/2     0         0           Pending   Ns

            NAME                     STATUS   AGE
            namespace/berth-system   Active   Ns
            namespace/default        Active   Ns
            namespace/shop           Active   Ns
            $ ctl apply -n market -f web.yaml
            ! error: could not apply app/web
            !   Namespace `market` was not found; create it first
            exit code 1
        "#]],
    );
}

#[test]
fn a_servers_refusal_is_shown_in_the_line_of_the_manifest() {
    let world = World::start();
    world.write("web.yaml", WEB);
    world.run("apply -f web.yaml");
    other_manager_sets_replicas(&world, "web");
    world.shows(
        &["apply -f web.yaml", "apply -f web.yaml --force-conflicts", "get apps"],
        expect![[r#"
            $ ctl apply -f web.yaml
            ! error: spec.replicas: conflict with `autoscaler`, which has it as `7`, this apply wants `2`
            !   --> web.yaml:7:3   (app/web)
            !    |
            !  7 |   replicas: 2
            !    |   ^^^^^^^^
            !
            ! 1 error; app/web was not applied
            ! hint: --force-conflicts takes these fields over from whoever set them
            exit code 5
            $ ctl apply -f web.yaml --force-conflicts
            app/web configured
            ! app/web: took over from `autoscaler`: spec.replicas (7 -> 2)
            $ ctl get apps
            NAME   READY   UPDATED   AVAILABLE   STATUS    AGE
            web    0/2     0         0           Pending   Ns
        "#]],
    );
}

#[test]
fn a_removed_line_and_a_missing_owner_are_stated() {
    let world = World::start();
    world.write("web.yaml", WEB);
    world.write("without.yaml", &WEB.replace("  replicas: 2\n", "").replace("  labels: {tier: front}\n", ""));
    let owner = "{apiVersion: berth.dev/v1, kind: App, name: ghost, uid: 0123456789abcdef0123456789abcdef}";
    let owned = WEB.replace("  labels: {tier: front}\n", &format!("  ownerReferences: [{owner}]\n"));
    world.write("owned.yaml", &owned.replace("name: web\n  o", "name: owned\n  o"));
    world.shows(
        &[
            "apply -f web.yaml",
            "apply -f without.yaml --dry-run=server",
            "apply -f without.yaml",
            "apply -f without.yaml",
            "apply -f owned.yaml",
            "apply -f owned.yaml",
        ],
        expect![[r#"
            $ ctl apply -f web.yaml
            app/web created
            $ ctl apply -f without.yaml --dry-run=server
            app/web configured (server dry run)
            ! app/web: metadata.labels {"tier":"front"} -> none: the lines were removed
            ! app/web: spec.replicas 2 -> 1: the line was removed
            $ ctl apply -f without.yaml
            app/web configured
            ! app/web: metadata.labels {"tier":"front"} -> none: the lines were removed
            ! app/web: spec.replicas 2 -> 1: the line was removed
            $ ctl apply -f without.yaml
            app/web unchanged
            $ ctl apply -f owned.yaml
            app/owned created
            ! warning: app/owned: the owner App `ghost` was not found in Namespace `default`; an object is deleted when none of its owners exists: correct or remove the entry in `metadata.ownerReferences`
            $ ctl apply -f owned.yaml
            app/owned unchanged
        "#]],
    );
}
