//! Which etcd may be used: 3.5.13 and newer; older ones have bugs that we know our way around, but three of them
//! lose writes.

use std::time::Duration;

use super::Unsupported;
use super::failure::Refused;
use super::member::{Members, Repeat};
use crate::StoreError;

/// How long members beside the first have to tell their version.
const TELL_WITHIN: Duration = Duration::from_secs(2);

/// How good a version is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quality {
    Good,
    Old,
    LosesWrites,
}

/// Checks every member that answers; at least one must.
pub(super) async fn check(members: &Members, unsupported: Unsupported) -> Result<(), StoreError> {
    let any = members.call(Repeat::Safe, |line| async move { line.maintenance().status().await });
    any.await.map_err(Refused::plain)?;
    for member in members.all() {
        let mut maintenance = member.line()?.maintenance();
        let Ok(Ok(status)) = tokio::time::timeout(TELL_WITHIN, maintenance.status()).await else {
            tracing::warn!(member = member.url(), "etcd member does not tell its version");
            continue;
        };
        judge(member.url(), status.version(), unsupported)?;
    }
    Ok(())
}

fn judge(url: &str, version: &str, unsupported: Unsupported) -> Result<(), StoreError> {
    match (quality(version), unsupported) {
        (Quality::Good, _) => {}
        (Quality::Old, _) => {
            tracing::warn!(member = url, version, "etcd is older than 3.5.13; please upgrade");
        }
        (Quality::LosesWrites, Unsupported::Allow) => {
            tracing::warn!(member = url, version, "etcd 3.5.0 to 3.5.2 can lose writes; for tests only");
        }
        (Quality::LosesWrites, Unsupported::Refuse) => {
            return Err(StoreError::BadCall(format!(
                "etcd {version} at {url} can lose committed writes; 3.5.13 or newer is needed"
            )));
        }
    }
    Ok(())
}

fn quality(version: &str) -> Quality {
    let mut numbers = version.split(['.', '-', '+']).map(|part| part.parse::<u32>().unwrap_or(0));
    let mut number = || numbers.next().unwrap_or(0);
    match (number(), number(), number()) {
        (3, 5, 0..=2) => Quality::LosesWrites,
        (major, minor, patch) if (major, minor, patch) < (3, 5, 13) => Quality::Old,
        _ => Quality::Good,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_lose_writes_are_refused_unless_allowed() {
        let table = [
            ("3.4.23", Quality::Old),
            ("3.5.0", Quality::LosesWrites),
            ("3.5.1", Quality::LosesWrites),
            ("3.5.2", Quality::LosesWrites),
            ("3.5.3", Quality::Old),
            ("3.5.12", Quality::Old),
            ("3.5.13", Quality::Good),
            ("3.6.0-rc.1", Quality::Good),
            ("4.0.0", Quality::Good),
        ];
        for (version, expected) in table {
            assert_eq!(quality(version), expected, "{version}");
            let refused = judge("http://a:1", version, Unsupported::Refuse).is_err();
            assert_eq!(refused, expected == Quality::LosesWrites, "{version}");
            assert_eq!(judge("http://a:1", version, Unsupported::Allow), Ok(()));
        }
    }
}
