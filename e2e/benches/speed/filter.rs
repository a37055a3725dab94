//! The shim's system call filter in the words of an OCI spec, so that crun does the same work on the same bundle.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// Where the shim lists what containers may call.
const LIST: &str = include_str!("../../../node-agent/shim/src/syscalls.rs");
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
/// Calls that the shim allows with some arguments only.
const BY_ARGUMENT: [&str; 4] = ["clone", "socket", "personality", "ioctl"];

/// `linux.seccomp` with the shim's list and its conditions.
pub fn in_words() -> Value {
    let allowed =
        |names: Value, args: Value| json!({ "names": names, "action": "SCMP_ACT_ALLOW", "args": args });
    let compare = |index: u32, op: &str, value: u64, value_two: u64| json!({ "index": index, "value": value, "valueTwo": value_two, "op": op });
    let mut calls = vec![
        allowed(json!(listed()), json!([])),
        allowed(json!(["clone"]), json!([compare(0, "SCMP_CMP_MASKED_EQ", 0x7e02_0000, 0)])),
        allowed(
            json!(["socket"]),
            json!([compare(0, "SCMP_CMP_NE", 38, 0), compare(0, "SCMP_CMP_NE", 40, 0)]),
        ),
        allowed(json!(["ioctl"]), json!([compare(1, "SCMP_CMP_NE", 0x5412, 0)])),
        json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS }),
    ];
    for personality in [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff_u64] {
        calls.push(allowed(json!(["personality"]), json!([compare(0, "SCMP_CMP_EQ", personality, 0)])));
    }
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": calls,
    })
}

/// The names on the shim's list; those of another architecture are unknown to crun here, which passes over them.
fn listed() -> BTreeSet<&'static str> {
    let words = LIST.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let names = words.filter_map(|word| word.strip_prefix("SYS_"));
    let names: BTreeSet<_> = names.filter(|name| !BY_ARGUMENT.contains(name)).collect();
    assert!(names.len() > 200, "the shim's list is read");
    names
}
