//! The only door to the API for everyone but the server: several endpoints with failover, objects as JSON or as
//! typed kinds, writes with preconditions, watches that resume by themselves, and the calls of node agents.
//!
//! ```no_run
//! # async fn example() -> Result<(), berth_client::Error> {
//! use berth_client::{Client, Query, Write};
//! use berth_types::app::App;
//!
//! let client = Client::new(&["unix:/run/berth/api.sock"])?;
//! let apps = client.list_as::<App>(&Query::of::<App>().in_namespace("shop")).await?;
//! for app in &apps.items {
//!     let patch = serde_json::json!({ "metadata": { "labels": { "seen": "yes" } } });
//!     client.write(&Write::patch::<App>("shop", &app.metadata.name, patch).unchanged(app)).await?;
//! }
//! # Ok(())
//! # }
//! ```

mod client;
mod durations;
mod endpoint;
mod error;
mod failover;
mod history;
mod merge;
mod messages;
mod object;
mod presence;
mod session;
mod watch;
mod write;
mod written;

pub use client::Client;
pub use durations::Durations;
pub use error::Error;
pub use failover::{Options, Resend};
pub use merge::merge_patch;
pub use messages::{BindItem, Health, Listed, LogsQuery, Version};
pub use object::{KindName, Object, ObjectKey, Query};
pub use presence::{NodePresence, Presence, PresenceState, PresenceStream};
pub use session::{FromServer, Hello, OpenLogs, Session, Tunnels};
pub use watch::{Change, Update, Watch};
pub use write::{Atomicity, Fence, Precondition, Write};
pub use written::{Effect, FieldChange, Written};
