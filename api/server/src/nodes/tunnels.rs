//! Tunnels: streams that agents open because this server asked them to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_proto::v1::TunnelChunk;
use berth_types::{Reason, Status};
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;

/// Chunks that wait for a slow reader; beyond, the agent waits.
const WAITING: usize = 16;

/// What an agent sends through a tunnel.
#[derive(Debug)]
enum Chunk {
    Data(bytes::Bytes),
    /// Nothing follows; all was carried.
    End,
    Broken(Status),
}

/// Who waits for which tunnel.
#[derive(Debug, Default)]
pub(super) struct Tunnels {
    expected: Arc<Mutex<HashMap<String, mpsc::Sender<Chunk>>>>,
}

/// A tunnel that an agent was asked to open. Dropping it makes the agent stop.
#[derive(Debug)]
pub(super) struct Expected {
    /// What the agent names.
    pub(super) id: String,
    chunks: mpsc::Receiver<Chunk>,
    expected: Arc<Mutex<HashMap<String, mpsc::Sender<Chunk>>>>,
}

impl Expected {
    /// The next chunk; none once the agent said that all was carried. A tunnel that nobody carries any more broke off:
    /// what carries it is dropped when the agent's connection breaks, also while it waits for a slow reader.
    pub(super) async fn next(&mut self) -> Option<Result<bytes::Bytes, Status>> {
        match self.chunks.recv().await {
            Some(Chunk::Data(data)) => Some(Ok(data)),
            Some(Chunk::End) => None,
            Some(Chunk::Broken(why)) => Some(Err(why)),
            None => Some(Err(went_away())),
        }
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Tunnels {
    /// A new id, and what will come under it.
    pub(super) fn expect(&self) -> Expected {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let (sender, chunks) = mpsc::channel(WAITING);
        self.waiting().insert(id.clone(), sender);
        Expected { id, chunks, expected: self.expected.clone() }
    }

    /// Carries a tunnel that an agent opened, until it ends or its reader goes away.
    pub(super) async fn carry<S>(&self, mut inbound: S) -> Result<(), Status>
    where
        S: Stream<Item = Result<TunnelChunk, tonic::Status>> + Unpin,
    {
        let Some(Ok(first)) = inbound.next().await else {
            return Err(Status::new(Reason::BadRequest, "a tunnel begins with its id"));
        };
        let Some(reader) = self.waiting().remove(&first.id) else {
            return Err(Status::new(Reason::NotFound, "nobody waits for this tunnel"));
        };
        // A chunk of nothing tells the reader that the tunnel is open.
        let mut chunk = read(first);
        loop {
            let is_last = !matches!(chunk, Chunk::Data(_));
            if reader.send(chunk).await.is_err() || is_last {
                return Ok(());
            }
            chunk = tokio::select! {
                () = reader.closed() => return Ok(()),
                next = inbound.next() => match next {
                    Some(Ok(next)) if next.ends => Chunk::End,
                    Some(Ok(next)) => read(next),
                    // The end of a stream that its sender dropped looks like the end of one that is complete.
                    Some(Err(_)) | None => Chunk::Broken(went_away()),
                },
            };
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, mpsc::Sender<Chunk>>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(chunk: TunnelChunk) -> Chunk {
    if chunk.error.is_empty() {
        Chunk::Data(chunk.data)
    } else {
        Chunk::Broken(Status::new(Reason::NotFound, chunk.error))
    }
}

fn went_away() -> Status {
    Status::new(Reason::Unavailable, "the node's agent went away")
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, stream};

    use super::*;

    /// As the server does when the agent's connection breaks.
    #[tokio::test]
    async fn a_tunnel_that_is_dropped_while_its_reader_is_slow_is_not_taken_for_one_that_ends() {
        let tunnels = Tunnels::default();
        let mut expected = tunnels.expect();
        let id = expected.id.clone();
        let chunks = stream::repeat_with(move || Ok(TunnelChunk { id: id.clone(), ..Default::default() }));
        assert!(tunnels.carry(chunks).now_or_never().is_none());
        for _ in 0..WAITING {
            assert!(expected.next().await.unwrap().is_ok());
        }
        assert_eq!(expected.next().await.unwrap().unwrap_err().reason, Reason::Unavailable);
    }
}
