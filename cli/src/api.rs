//! The API as verbs use it: a client, and its refusals as failures of a run.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use berth_client::{Client, Error, ObjectKey, Options};
use berth_types::Reason;
use berth_types::status::NAMESPACE_TERMINATING;
use serde_json::Value;

use crate::args;
use crate::failure::{Exit, Failure};
use crate::suggested::Suggested;

/// A server that is being restarted is back by then.
const DEADLINE: Duration = Duration::from_secs(5);

/// The Namespace without a flag.
const DEFAULT: &str = "default";

/// Of more objects than this a suggested command names the kinds only.
const MOST_NAMED: usize = 5;

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
            Error::Refused(status) if status.has_cause(NAMESPACE_TERMINATING) => failure(Exit::Conflict),
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

    /// A command for the same servers and this Namespace (empty for none), as a message suggests it.
    pub fn command(&self, words: &str, namespace: &str) -> Suggested {
        let namespace = if namespace.is_empty() { DEFAULT } else { namespace };
        let command = Suggested::ctl(words).flag("-n", namespace, DEFAULT);
        command.flag("--server", &self.servers.join(","), args::SERVER)
    }

    /// The same about objects, each with its name as `app/web`: about all of their kinds, if they are many or in
    /// several Namespaces.
    pub fn command_about<'a>(
        &self,
        words: &str,
        objects: impl IntoIterator<Item = (String, &'a ObjectKey)>,
    ) -> Suggested {
        let (names, keys): (Vec<String>, Vec<&ObjectKey>) = objects.into_iter().unzip();
        let namespaces: BTreeSet<&str> = keys.iter().map(|key| key.namespace.as_str()).collect();
        let namespaces: Vec<&str> = namespaces.into_iter().filter(|name| !name.is_empty()).collect();
        if names.len() <= MOST_NAMED && namespaces.len() <= 1 {
            let namespace = namespaces.first().copied().unwrap_or_default();
            return self.command(&format!("{words} {}", names.join(" ")), namespace);
        }
        let kinds: BTreeSet<&str> = names.iter().filter_map(|name| name.split('/').next()).collect();
        self.command(&format!("get {} -A", kinds.into_iter().collect::<Vec<_>>().join(",")), "")
    }

    fn nobody(&self, why: &str) -> Failure {
        let servers = self.servers.join(", ");
        let hint = if servers == args::SERVER {
            "`ctl up` starts one on this machine; --server or CTL_SERVER name another".to_owned()
        } else {
            format!(
                "name one that runs by --server or CTL_SERVER; `ctl up` starts one, at {} without --run",
                args::SERVER
            )
        };
        Failure::new(Exit::Unreachable, format!("no API server answers at {servers}")).detail(why).hint(hint)
    }
}

fn absent(server: &str) -> bool {
    let Some(path) = server.strip_prefix("unix:") else { return false };
    UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}
