//! The raw history of the store, for the recorder of the end-to-end tests; only test builds have it.
//!
//! On a socket of its own, no types, straight from the store's watch. A client sends one line:
//!
//! - `from N`: every change of every key from revision N on, for ever: a line `put REV CREATE VERSION LEASE K V` and
//!   then K bytes of key and V of value, or `delete REV K` and the key; after the last change of a revision `end REV`.
//!   `lost WHY` when a change that was asked for cannot be told any more, `error WHY` when nothing more comes.
//! - `head`: the newest revision, as `head REV`.

use std::sync::Arc;

use berth_server::listen::{self, Listener, Place};
use berth_store::{Changes, Rev, Store, StoreError};
use futures::StreamExt;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::task::JoinSet;

/// Every key: none begins with this byte, for keys are text.
const END: &[u8] = &[u8::MAX];
const START: &[u8] = &[0];

/// Serves the history at `place` until what it gives is dropped.
pub async fn serve(store: Arc<dyn Store>, place: &Place) -> std::io::Result<JoinSet<()>> {
    let Listener::Unix(listener) = listen::open(place).await? else {
        return Err(std::io::Error::other("the raw history is served on a unix socket alone"));
    };
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut clients = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            while clients.try_join_next().is_some() {}
            let store = store.clone();
            clients.spawn(async move {
                let (read, write) = client.into_split();
                // A client that is gone needs no answer.
                drop(answer(&*store, BufReader::new(read), write).await);
            });
        }
    });
    Ok(serving)
}

async fn answer(
    store: &dyn Store,
    mut asked: impl AsyncBufReadExt + AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> std::io::Result<()> {
    let mut line = String::new();
    asked.read_line(&mut line).await?;
    let last = match line.trim_end().split_once(' ') {
        None if line == "head\n" => match store.current_rev().await {
            Ok(rev) => format!("head {rev}\n"),
            Err(error) => farewell(&error),
        },
        Some(("from", rev)) => match rev.parse() {
            Ok(from) => tell(store, from, &mut to).await?,
            Err(_) => format!("error `{rev}` is no revision\n"),
        },
        Some(_) | None => format!("error `{}` is no question\n", line.trim_end()),
    };
    to.write_all(last.as_bytes()).await
}

/// Tells changes until there is a reason to stop, which is the last line.
async fn tell(store: &dyn Store, from: Rev, to: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<String> {
    let mut stream = match store.watch(START, END, from).await {
        Ok(stream) => stream,
        Err(error) => return Ok(farewell(&error)),
    };
    while let Some(changes) = stream.next().await {
        match changes {
            Ok(changes) => to.write_all(&frames(&changes)).await?,
            Err(error) => return Ok(farewell(&error)),
        }
    }
    Ok("error the store's watch ended\n".into())
}

fn farewell(error: &StoreError) -> String {
    let word = match error {
        StoreError::Compacted { .. } | StoreError::Lagged | StoreError::Replaced(_) => "lost",
        StoreError::Future { .. }
        | StoreError::NoLease(_)
        | StoreError::BadCall(_)
        | StoreError::Full(_)
        | StoreError::Unavailable(_)
        | StoreError::Unknown(_)
        | StoreError::Damaged(_) => "error",
    };
    format!("{word} {error}\n")
}

fn frames(changes: &Changes) -> Vec<u8> {
    let rev = changes.rev;
    let mut frames = Vec::new();
    for change in &changes.changes {
        let key = &change.key;
        match &change.now {
            Some(kv) => {
                let (create, version, lease) = (kv.create_rev, kv.version, kv.lease);
                let (keys, values) = (key.len(), kv.value.len());
                let head = format!("put {rev} {create} {version} {lease} {keys} {values}\n");
                frames.extend_from_slice(head.as_bytes());
                frames.extend_from_slice(key);
                frames.extend_from_slice(&kv.value);
            }
            None => {
                frames.extend_from_slice(format!("delete {rev} {}\n", key.len()).as_bytes());
                frames.extend_from_slice(key);
            }
        }
    }
    frames.extend_from_slice(format!("end {rev}\n").as_bytes());
    frames
}

#[cfg(test)]
mod tests {
    use berth_store::{EmbeddedStore, Group, Write};
    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;

    use super::*;

    async fn commit(store: &EmbeddedStore, writes: Vec<Write>) {
        store.commit(vec![Group { conditions: Vec::new(), writes }]).await.unwrap();
    }

    async fn ask(place: &str, question: &str, bytes: usize) -> String {
        let mut client = UnixStream::connect(place).await.unwrap();
        client.write_all(question.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // An answer that is shorter ends, and is shown.
        let mut client = client.take(bytes as u64);
        client.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn every_change_is_told_revision_by_revision_and_what_is_compacted_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("raw.sock").display().to_string();
        let store = Arc::new(EmbeddedStore::memory());
        let place = format!("unix:{path}").parse().unwrap();
        let _serving = serve(store.clone(), &place).await.unwrap();
        commit(&store, vec![Write::put("a", "1"), Write::put("b\n", "two\n")]).await;
        let expected = "put 2 2 1 0 1 1\na1put 2 2 1 0 2 4\nb\ntwo\nend 2\ndelete 3 1\naend 3\n";
        let told = tokio::spawn({
            let path = path.clone();
            async move { ask(&path, "from 1\n", expected.len()).await }
        });
        commit(&store, vec![Write::delete("a")]).await;
        assert_eq!(told.await.unwrap(), expected);
        assert_eq!(ask(&path, "head\n", 7).await, "head 3\n");
        store.compact(3).await.unwrap();
        assert!(ask(&path, "from 1\n", 16).await.starts_with("lost revision is"));
        assert!(ask(&path, "what\n", 12).await.starts_with("error `what`"));
    }
}
