//! The API as verbs use it: a client, and its refusals as failures of a run.

use std::cell::Cell;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use berth_client::{Client, Error, ObjectKey, Options};
use berth_types::Reason;
use serde_json::Value;

use crate::failure::{Exit, Failure};

/// A server that is being restarted is back by then.
const DEADLINE: Duration = Duration::from_secs(5);

/// Who waits asks this often whether a server is there at all.
const ASKED_AGAIN: Duration = Duration::from_secs(2);

/// The API, and how it was named.
#[derive(Debug, Clone)]
pub struct Api {
    /// Makes the calls.
    pub client: Client,
    servers: Vec<String>,
    silent: Rc<Cell<bool>>,
}

impl Api {
    /// Reaches the servers at these addresses, on the first call.
    pub fn at(servers: &[String]) -> Result<Self, Failure> {
        let options = Options { deadline: DEADLINE, ..Options::default() };
        let client = Client::with_options(servers, options)
            .map_err(|error| Failure::new(Exit::Usage, format!("bad --server: {error}")))?;
        let api = Self { client, servers: servers.to_vec(), silent: Rc::default() };
        // Where no socket is, none will be soon: waiting for it would only hide that.
        if servers.iter().all(|server| absent(server)) { Err(api.nobody("no such socket")) } else { Ok(api) }
    }

    /// One object; none when there is no such object.
    pub async fn find(&self, key: &ObjectKey) -> Result<Option<Value>, Error> {
        match self.client.get(key).await {
            Ok(object) => Ok(Some(object)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Ends with a sentence when no server answers any more, or one does again: a watch alone waits without a word.
    pub async fn fallen_silent_or_back(&self) -> String {
        loop {
            tokio::time::sleep(ASKED_AGAIN).await;
            let silent = matches!(self.client.version().await, Err(Error::Unavailable(_)));
            if self.silent.replace(silent) != silent {
                return if silent {
                    format!("no API server answers at {}; trying again", self.servers.join(", "))
                } else {
                    "an API server answers again".into()
                };
            }
        }
    }

    /// What a failed call means for the run; `step` names the step and the object.
    pub fn failed(&self, step: &str, error: &Error) -> Failure {
        let status = error.status();
        let failure = |exit| {
            let mut failure = Failure::new(exit, step);
            if status.details.causes.is_empty() {
                return failure.detail(status.message.clone());
            }
            for cause in &status.details.causes {
                let field = if cause.field.is_empty() { String::new() } else { format!("{}: ", cause.field) };
                failure = failure.detail(format!("{field}{}", cause.message));
            }
            failure
        };
        match error {
            Error::Unavailable(status) if status.message.contains("Permission denied") => {
                Failure::new(Exit::Forbidden, format!("not allowed to talk to {}", self.servers.join(", ")))
                    .detail(&status.message)
                    .hint("the socket is its owner's alone: run ctl as that user, as `sudo ctl ...`")
            }
            Error::Unavailable(status) if status.message.contains("could not connect") => {
                self.nobody(&status.message)
            }
            Error::Unavailable(_) => failure(Exit::Unreachable),
            Error::Conflict(_) | Error::AlreadyExists(_) => failure(Exit::Conflict),
            Error::Invalid(_) => failure(Exit::Usage),
            Error::Refused(status) if matches!(status.reason, Reason::Forbidden | Reason::Unauthorized) => {
                failure(Exit::Forbidden)
            }
            Error::Unknown(_) => {
                failure(Exit::Failed).hint("it may have happened or not: look before trying again")
            }
            Error::NotFound(_) | Error::Refused(_) | Error::Expired(_) | Error::Broken(_) => {
                failure(Exit::Failed)
            }
        }
    }

    fn nobody(&self, why: &str) -> Failure {
        let servers = self.servers.join(", ");
        Failure::new(Exit::Unreachable, format!("no API server answers at {servers}"))
            .detail(why)
            .hint("`ctl up` starts one on this machine; --server or CTL_SERVER name another")
    }
}

fn absent(server: &str) -> bool {
    let Some(path) = server.strip_prefix("unix:") else { return false };
    UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}
