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
    /// An answer was of this history; empty when the server does not tell.
    pub(crate) fn hear(&self, history: &str) {
        if history.is_empty() {
            return;
        }
        let first = self.first.get_or_init(|| history.into());
        if first != history && !self.another.send_replace(true) {
            tracing::warn!(first, now = history, "the store was restored or replaced");
        }
    }

    /// Ends once an answer was of another history than the first.
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
}
