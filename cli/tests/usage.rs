//! Command lines that mean nothing: said without a server, exit code 2.

use std::process::{Command, Output};

use expect_test::{Expect, expect};

mod limit;

/// Runs `ctl` where no server is.
fn ctl(args: &[&str]) -> Output {
    let mut ctl = Command::new(env!("CARGO_BIN_EXE_ctl"));
    ctl.args(args).env("CTL_SERVER", "unix:/nonexistent/api.sock").env_remove("CTL_NAMESPACE");
    limit::output(&mut ctl)
}

fn says(line: &str, expected: Expect) {
    let run = ctl(&line.split(' ').collect::<Vec<_>>());
    let stderr = String::from_utf8(run.stderr).expect("ctl writes UTF-8");
    assert_eq!(run.status.code(), Some(2), "{line}: {stderr}");
    assert!(run.stdout.is_empty(), "{line}");
    expected.assert_eq(&stderr);
}

#[test]
fn an_unknown_kind_is_told_what_there_is() {
    says(
        "get aps",
        expect![[r#"
        error: unknown kind `aps`, did you mean `apps`?
    "#]],
    );
    says(
        "get deployments",
        expect![[r#"
        error: unknown kind `deployments`, Berth's counterpart is `app`
    "#]],
    );
    says(
        "describe app/web pod/x",
        expect![[r#"
        error: unknown kind `pod`, Berth's counterpart is `task`
    "#]],
    );
}

#[test]
fn names_and_kinds_that_do_not_go_together_are_refused() {
    says(
        "get app web/x",
        expect![[r#"
        error: a name has no slash: `web/x`
        hint: write KIND NAME NAME, or KIND/NAME KIND/NAME
    "#]],
    );
    says(
        "get app/",
        expect![[r#"
        error: `app/` has no name after the slash
    "#]],
    );
    says(
        "get app/web api",
        expect![[r#"
        error: `api` stands among KIND/NAME words and is none
        hint: write KIND NAME NAME, or KIND/NAME KIND/NAME
    "#]],
    );
    says(
        "get app/web -l a=b",
        expect![[r#"
        error: give names or -l, not both
    "#]],
    );
    says(
        "scale task/web-0 --replicas 3",
        expect![[r#"
        error: a task has no rollout and no replicas; only an app has
    "#]],
    );
    says(
        "scale app/web --replicas -1",
        expect![[r#"
        error: invalid value '-1' for '--replicas <REPLICAS>': -1 is not in 0..=4294967295

        For more information, try '--help'.
    "#]],
    );
    says(
        "logs app/web --tail -1",
        expect![[r#"
        error: invalid value '-1' for '--tail <TAIL>': -1 is not in 0..=4294967295

        For more information, try '--help'.
    "#]],
    );
    says(
        "logs node/one",
        expect![[r#"
        error: a node writes no log; a task does
    "#]],
    );
    says(
        "rollout status nodes",
        expect![[r#"
        error: which node?
        hint: name it, as node/NAME, or choose by label: nodes -l KEY=VALUE
    "#]],
    );
}

#[test]
fn what_would_delete_everything_must_say_so() {
    says(
        "delete apps",
        expect![[r#"
        error: which app?
        hint: name it, as app/NAME, or choose by label: apps -l KEY=VALUE
    "#]],
    );
    says(
        "wait apps --for=delete",
        expect![[r#"
        error: which app?
        hint: name it, as app/NAME, or choose by label: apps -l KEY=VALUE
    "#]],
    );
}

#[test]
fn only_what_runs_has_a_grace_period() {
    says(
        "delete app/web --grace-period 1",
        expect![[r#"
        error: only a task has a grace period
    "#]],
    );
}

#[test]
fn a_wait_for_nothing_is_refused() {
    says(
        "wait app/web --for=available",
        expect![[r#"
        error: cannot wait for `available`
        hint: --for=condition=Available, --for=condition=Ready=False, --for=delete or --for=jsonpath={.status.phase}=Running
    "#]],
    );
    says(
        "wait app/web --for=jsonpath={.status.phase}",
        expect![[r#"
        error: cannot wait for `jsonpath={.status.phase}`
        hint: --for=condition=Available, --for=condition=Ready=False, --for=delete or --for=jsonpath={.status.phase}=Running
    "#]],
    );
}

#[test]
fn a_bad_selector_is_shown_where_it_goes_wrong() {
    says(
        "get apps -l app==,",
        expect![[r#"
        error: bad selector `app==,`, at character 7: expected a label key, got the end
    "#]],
    );
    says(
        "get apps -l app=in(b",
        expect![[r#"
        error: bad selector `app=in(b`, at character 7: expected `,` or the end, got `(b`
    "#]],
    );
}

#[test]
fn the_server_and_the_ports_must_make_sense() {
    says(
        "get apps --server /run/berth/api.sock",
        expect![[r#"
        error: bad --server: `/run/berth/api.sock` is no server address; use unix:PATH or http://127.0.0.1:PORT
    "#]],
    );
    says(
        "up --ports 32000-31000",
        expect![[r#"
        error: --ports must be two ports as 31000-32000, got `32000-31000`
    "#]],
    );
    says(
        "down --yes",
        expect![[r#"
        error: the following required arguments were not provided:
          --delete-data

        Usage: ctl down --delete-data --yes --server <SERVER>

        For more information, try '--help'.
    "#]],
    );
}

#[test]
fn a_word_that_can_name_nothing_is_told_what_would_do() {
    says(
        "get app/a/b",
        expect![[r#"
        error: `app/a/b` has more than a kind and a name
        hint: write KIND/NAME, and -n for the namespace
    "#]],
    );
    says(
        "get apps -n Bad_NS",
        expect![[r#"
        error: bad namespace `Bad_NS`: must be lower-case letters, digits and `-`, with a letter or digit at both ends, got `Bad_NS`; `bad-ns` would do
    "#]],
    );
    says(
        "wait app/web --for=condition=",
        expect![[r#"
        error: cannot wait for `condition=`
        hint: --for=condition=Available, --for=condition=Ready=False, --for=delete or --for=jsonpath={.status.phase}=Running
    "#]],
    );
}

#[test]
fn ctl_alone_says_what_it_can_do() {
    let run = ctl(&[]);
    let stderr = String::from_utf8(run.stderr).expect("ctl writes UTF-8");
    assert_eq!(run.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("Commands:") && stderr.contains("Exit codes:"), "{stderr}");
}
