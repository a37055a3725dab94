//! Histories about what becomes of what was asked for, once nobody asks for more.

use berth_builtin::caches::Caches;
use berth_builtin::garbage;
use berth_client::{ObjectKey, Write};
use berth_e2e::history::Run;

use crate::rollouts::{begin, settled, three_replicas};
use crate::world::World;

/// An App is asked for.
pub async fn an_app_is_asked_for() -> Run {
    let world = World::start().await;
    let _running = begin(&world).await;
    world.app("web", three_replicas("one")).await;
    world.run_to_its_end().await
}

/// An App is asked for, and not wanted any more once it is there.
pub async fn an_app_is_deleted() -> Run {
    let world = World::start().await;
    let mut running = begin(&world).await;
    let (client, caches) = (world.client.clone(), Caches::new(world.client.clone()));
    let garbage = garbage::controller(client, &caches, garbage::Limits::default());
    running.spawn(garbage.run(std::future::pending::<()>()));
    let app = world.app("web", three_replicas("one")).await;
    settled(&world, "one").await;
    world.client.write(&Write::delete(&ObjectKey::to(&app))).await.unwrap();
    world.run_to_its_end().await
}
