//! Which history of the store the servers speak of. A store that was restored from a backup has another one: versions,
//! epochs and whatever else was heard before mean nothing any more.

use std::sync::OnceLock;

use tokio::sync::watch;

/// What was heard of the store's history, over all answers.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    first: OnceLock<String>,
    another: watch::Sender<bool>,
}

impl Heard {
    /// An answer was of this history; empty when the server does not tell. What is after a dot is another at every start
    /// of a store: only the server knows what that means for a version.
    pub(crate) fn hear(&self, history: &str) {
        let history = history.split('.').next().unwrap_or_default();
        if history.is_empty() {
            return;
        }
        let first = self.first.get_or_init(|| history.into());
        if first != history && !self.another.send_replace(true) {
            tracing::warn!(first, now = history, "the store was restored or replaced");
        }
    }

    /// A version that was heard is refused as one of another past.
    pub(crate) fn lost(&self, why: &str) {
        if !self.another.send_replace(true) {
            tracing::warn!(why, "the store was restored or replaced");
        }
    }

    /// Ends once an answer was of another history than the first, or what had been heard was refused as such.
    pub(crate) async fn another(&self) {
        let mut another = self.another.subscribe();
        if another.wait_for(|another| *another).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_second_history_is_heard_by_all_who_wait_and_silence_is_none() {
        let heard = Heard::default();
        ["", "a", "a", ""].iter().for_each(|history| heard.hear(history));
        assert!(heard.another().now_or_never().is_none());
        heard.hear("b");
        heard.hear("a");
        assert!(heard.another().now_or_never().is_some());
    }

    #[test]
    fn a_store_that_was_started_again_is_no_other_and_a_refused_version_tells_of_one() {
        let heard = Heard::default();
        ["a.1", "a.2", "a"].iter().for_each(|history| heard.hear(history));
        assert!(heard.another().now_or_never().is_none());
        heard.lost("its history is a.3");
        assert!(heard.another().now_or_never().is_some());
    }
}
