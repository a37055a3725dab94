//! Histories about what clients are told of their writes and reads.

use berth_e2e::history::Run;

use crate::gate::Gate;
use crate::witness::Recorder;
use crate::world::World;

const APPS: &str = "/berth/berth.dev/apps/";

/// A call to the store is not sent.
pub async fn a_write_is_not_sent() -> Run {
    let world = World::start().await;
    let mut client = Recorder::new("client", &world.peer);
    client.create("a", "gold").await;
    world.gate.refuse_write(APPS);
    client.relabel("a", "tin").await;
    client.list().await;
    Run { answers: client.operations, ..world.run().await }
}

/// The store does what it is asked, and its answer is lost.
pub async fn an_answer_is_lost() -> Run {
    let world = World::start().await;
    let mut client = Recorder::new("client", &world.peer);
    client.create("a", "gold").await;
    world.gate.lose_answer(APPS);
    client.relabel("a", "tin").await;
    client.list().await;
    Run { answers: client.operations, ..world.run().await }
}

/// A client reads at a server that does not see yet what it wrote at another.
pub async fn a_server_lags() -> Run {
    let mut world = World::start().await;
    let other = world.another_server().await;
    let mut client = Recorder::new("client", &world.peer);
    client.create("a", "gold").await;
    other.gate.hide();
    client.relabel("a", "tin").await;
    let mut reader = Recorder::new("reader", &other.peer);
    list_at(&other.gate, &mut reader).await;
    let answers = [client.operations, reader.operations].concat();
    Run { answers, ..world.run().await }
}

/// Lists at a server that sees nothing new before it has asked for the newest revision. One that does not ask answers.
async fn list_at(gate: &Gate, reader: &mut Recorder) {
    let asked = gate.is_asked();
    let mut list = std::pin::pin!(reader.list());
    tokio::select! {
        () = &mut list => {}
        () = asked => {
            gate.show();
            list.await;
        }
    }
}
