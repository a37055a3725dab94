//! The system call filter of every container, made once per shim.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};

use crate::syscalls::{ANYWHERE, PECULIAR, YOUNG, YOUNGEST};

/// Every CLONE_NEW* flag that fits `clone`.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;
/// Address families that reach the kernel's crypto interface and the hypervisor.
const CLOSED_FAMILIES: [u64; 2] = [38, 40];
/// Personalities that only change what `uname` says.
const HARMLESS_PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// Types into the terminal as if the person before it did.
const TIOCSTI: u64 = 0x5412;

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// The rules do not compile.
    #[error("could not compile the system call filter")]
    Compile(#[from] seccompiler::BackendError),
}

/// The filter as the kernel takes it: what is not allowed fails with EPERM, what is unknown with ENOSYS.
pub fn compile() -> Result<BpfProgram, SeccompError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        [ANYWHERE, PECULIAR, YOUNG].into_iter().flatten().map(|call| (*call, Vec::new())).collect();
    rules.extend(by_argument()?);
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, refused, SeccompAction::Allow, architecture()?)?;
    let mut program = unknown_calls();
    program.append(&mut BpfProgram::try_from(filter)?);
    Ok(program)
}

fn architecture() -> Result<TargetArch, SeccompError> {
    Ok(TargetArch::try_from(std::env::consts::ARCH)?)
}

/// Calls that are allowed with some arguments only.
fn by_argument() -> Result<Vec<(i64, Vec<SeccompRule>)>, SeccompError> {
    use SeccompCmpArgLen::{Dword, Qword};
    let no_namespace = SeccompCondition::new(0, Qword, SeccompCmpOp::MaskedEq(NAMESPACE_FLAGS), 0)?;
    let mut open_family = Vec::new();
    for family in CLOSED_FAMILIES {
        open_family.push(SeccompCondition::new(0, Dword, SeccompCmpOp::Ne, family)?);
    }
    let mut personalities = Vec::new();
    for personality in HARMLESS_PERSONALITIES {
        let is_it = SeccompCondition::new(0, Dword, SeccompCmpOp::Eq, personality)?;
        personalities.push(SeccompRule::new(vec![is_it])?);
    }
    let no_typing = SeccompCondition::new(1, Dword, SeccompCmpOp::Ne, TIOCSTI)?;
    Ok(vec![
        (libc::SYS_clone, vec![SeccompRule::new(vec![no_namespace])?]),
        (libc::SYS_socket, vec![SeccompRule::new(open_family)?]),
        (libc::SYS_personality, personalities),
        (libc::SYS_ioctl, vec![SeccompRule::new(vec![no_typing])?]),
    ])
}

/// Says ENOSYS to `clone3`, whose flags lie in memory where no filter sees them (libc then takes `clone`), and to
/// calls younger than this list. It precedes a filter that has one answer for all it refuses.
fn unknown_calls() -> BpfProgram {
    let instruction = |code: u32, jt: u8, jf: u8, k: u32| sock_filter {
        code: u16::try_from(code).expect("instruction codes have 16 bits"),
        jt,
        jf,
        k,
    };
    let no_such_call = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    let clone3 = u32::try_from(libc::SYS_clone3).expect("call numbers are small");
    vec![
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, 0, clone3),
        instruction(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, 0, 1, YOUNGEST),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, no_such_call),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reaches_beyond_the_container_is_on_no_list() {
        let closed = [
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_pivot_root,
            libc::SYS_fsopen,
            libc::SYS_fsmount,
            libc::SYS_move_mount,
            libc::SYS_open_tree,
            libc::SYS_mount_setattr,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_clone3,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_bpf,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_request_key,
            libc::SYS_userfaultfd,
            libc::SYS_io_uring_setup,
            libc::SYS_io_uring_enter,
            libc::SYS_io_uring_register,
            libc::SYS_kexec_load,
            libc::SYS_kexec_file_load,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_delete_module,
            libc::SYS_perf_event_open,
            libc::SYS_reboot,
            libc::SYS_swapon,
            libc::SYS_swapoff,
            libc::SYS_acct,
            libc::SYS_settimeofday,
            libc::SYS_clock_settime,
            libc::SYS_open_by_handle_at,
            libc::SYS_pidfd_getfd,
            libc::SYS_quotactl,
            libc::SYS_syslog,
            libc::SYS_sethostname,
            libc::SYS_kcmp,
        ];
        for call in closed {
            assert!(
                [ANYWHERE, PECULIAR, YOUNG].into_iter().flatten().all(|allowed| *allowed != call),
                "{call}"
            );
        }
    }

    #[test]
    fn calls_are_answered_by_number_and_argument() {
        let (allowed, refused, unknown) = (0, libc::EPERM, libc::ENOSYS);
        let table = [
            (libc::SYS_getpid, [0; 3], allowed),
            (libc::SYS_clone3, [0; 3], unknown),
            (i64::from(YOUNGEST) + 1, [0; 3], unknown),
            (libc::SYS_unshare, [0x1000_0000, 0, 0], refused),
            (libc::SYS_clone, [0x1000_0000, 0, 0], refused),
            (libc::SYS_ptrace, [0; 3], refused),
            (libc::SYS_bpf, [0; 3], refused),
            (libc::SYS_keyctl, [0; 3], refused),
            (libc::SYS_io_uring_setup, [1, 0, 0], refused),
            (libc::SYS_userfaultfd, [0; 3], refused),
            (libc::SYS_personality, [0xffff_ffff, 0, 0], allowed),
            (libc::SYS_personality, [0x4_0000, 0, 0], refused),
            (libc::SYS_socket, [libc::AF_INET.into(), libc::SOCK_DGRAM.into(), 0], allowed),
            (libc::SYS_socket, [libc::AF_NETLINK.into(), libc::SOCK_RAW.into(), 0], allowed),
            (libc::SYS_socket, [libc::AF_ALG.into(), libc::SOCK_SEQPACKET.into(), 0], refused),
            (libc::SYS_socket, [libc::AF_VSOCK.into(), libc::SOCK_STREAM.into(), 0], refused),
            (libc::SYS_ioctl, [0, TIOCSTI.cast_signed(), 0], refused),
        ];
        let answers = under_filter(move || table.map(|(call, arguments, _)| answer(call, arguments)));
        for ((call, arguments, expected), answered) in table.into_iter().zip(answers) {
            assert_eq!(answered, expected, "{call} {arguments:x?}");
        }
    }

    #[test]
    fn threads_and_children_can_be_made() {
        let made = under_filter(|| {
            let thread = std::thread::spawn(|| 42).join().unwrap();
            let child = std::process::Command::new("/bin/sh").args(["-c", "exit 7"]).status().unwrap();
            (thread, child.code())
        });
        assert_eq!(made, (42, Some(7)));
    }

    /// A filter is a thread's own, so the other tests of this process go on without.
    fn under_filter<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        let confined = std::thread::spawn(|| {
            seccompiler::apply_filter(&compile().unwrap()).unwrap();
            work()
        });
        confined.join().unwrap()
    }

    #[expect(unsafe_code)]
    fn answer(call: i64, [a, b, c]: [i64; 3]) -> i32 {
        // SAFETY: with the arguments of the table these calls make at most a descriptor, whether allowed or not.
        let result = unsafe { libc::syscall(call, a, b, c) };
        if result >= 0 { 0 } else { std::io::Error::last_os_error().raw_os_error().unwrap() }
    }
}
