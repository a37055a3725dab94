//! The one clock of a test run: what the recorder, the clients and the faults saw is put in order by it.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of the machine's monotonic clock; every process of the machine reads the same.
pub fn now() -> u64 {
    let since_boot = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("the kernel has a monotonic clock");
    u64::try_from(Duration::from(since_boot).as_nanos()).expect("2^64 ns are 584 years")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::now;

    #[test]
    fn it_goes_forward_as_fast_as_time_does() {
        let before = now();
        std::thread::sleep(Duration::from_millis(20));
        let passed = now() - before;
        assert!(passed >= 20_000_000, "{passed}");
    }
}
