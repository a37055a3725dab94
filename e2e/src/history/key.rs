//! What a key of the store is about: `/berth/<group or core>/<plural>/<namespace or ->/<name>`, and the system's own
//! under `/berth/-/`.

/// What a key is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key<'a> {
    /// An object.
    Object {
        /// Group and plural, as `berth.dev/tasks`.
        kind: &'a str,
        /// `-` for kinds without namespace.
        namespace: &'a str,
        /// The object's name.
        name: &'a str,
    },
    /// The epoch of a Lease, named `<namespace>/<lease>`.
    Epoch(&'a str),
    /// What every Bind to this node writes.
    Ledger(&'a str),
    /// Anything else.
    Other,
}

impl<'a> Key<'a> {
    /// Reads a key.
    pub fn read(key: &'a str) -> Self {
        if let Some(system) = key.strip_prefix("/berth/-/") {
            return match system.split_once('/') {
                Some(("epoch", lease)) => Self::Epoch(lease),
                Some(("ledger", node)) => Self::Ledger(node),
                Some(_) | None => Self::Other,
            };
        }
        Self::object(key).unwrap_or(Self::Other)
    }

    fn object(key: &'a str) -> Option<Self> {
        let (rest, name) = key.strip_prefix("/berth/")?.rsplit_once('/')?;
        let (kind, namespace) = rest.rsplit_once('/')?;
        let one_slash = kind.matches('/').count() == 1;
        one_slash.then_some(Self::Object { kind, namespace, name })
    }
}

/// What a key is about, as a person says it: `Task shop/web-0`.
pub fn told(key: &str) -> String {
    match Key::read(key) {
        Key::Object { kind, namespace, name } => {
            let kind = match kind {
                "berth.dev/tasks" => "Task",
                "berth.dev/apps" => "App",
                "berth.dev/nodes" => "Node",
                "berth.dev/revisions" => "Revision",
                "coordination.k8s.io/leases" => "Lease",
                other => other,
            };
            if namespace == "-" { format!("{kind} {name}") } else { format!("{kind} {namespace}/{name}") }
        }
        Key::Epoch(lease) => format!("epoch of {lease}"),
        Key::Ledger(node) => format!("ledger of {node}"),
        Key::Other => key.into(),
    }
}

/// Key of a Node.
pub fn node(name: &str) -> String {
    format!("/berth/berth.dev/nodes/-/{name}")
}

/// Key of a node's ledger.
pub fn ledger(node: &str) -> String {
    format!("/berth/-/ledger/{node}")
}

/// Key of a Namespace.
pub fn namespace(name: &str) -> String {
    format!("/berth/core/namespaces/-/{name}")
}

/// Key of an App.
pub fn app(namespace: &str, name: &str) -> String {
    format!("/berth/berth.dev/apps/{namespace}/{name}")
}

/// Key of a Task.
pub fn task(namespace: &str, name: &str) -> String {
    format!("/berth/berth.dev/tasks/{namespace}/{name}")
}

/// Key of a Lease, named `<namespace>/<lease>`.
pub fn lease(name: &str) -> String {
    format!("/berth/coordination.k8s.io/leases/{name}")
}

/// Key of the epoch of a Lease, named `<namespace>/<lease>`.
pub fn epoch(lease: &str) -> String {
    format!("/berth/-/epoch/{lease}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_told_in_words() {
        let keys =
            [task("shop", "a"), node("n1"), epoch("x/y"), ledger("n1"), "/berth/core/secrets/shop/s".into()];
        let told = keys.map(|key| super::told(&key)).join(", ");
        assert_eq!(told, "Task shop/a, Node n1, epoch of x/y, ledger of n1, core/secrets shop/s");
    }

    #[test]
    fn a_key_tells_what_it_is_about() {
        let object = |kind, namespace, name| Key::Object { kind, namespace, name };
        let table = [
            (task("shop", "web-1"), object("berth.dev/tasks", "shop", "web-1")),
            (node("n1"), object("berth.dev/nodes", "-", "n1")),
            (lease("berth-system/x"), object("coordination.k8s.io/leases", "berth-system", "x")),
            ("/berth/core/namespaces/-/shop".into(), object("core/namespaces", "-", "shop")),
            (epoch("shop/x"), Key::Epoch("shop/x")),
            (ledger("n1"), Key::Ledger("n1")),
            ("/berth/-/cluster".into(), Key::Other),
            ("/berth/a/b/c/d/e".into(), Key::Other),
            ("/else".into(), Key::Other),
        ];
        for (key, expected) in table {
            assert_eq!(Key::read(&key), expected, "{key}");
        }
    }
}
