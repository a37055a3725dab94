//! How fast Berth is, beside a bare etcd in the same run: `cargo build --release --workspace`, then
//! `cargo bench --bench speed`, as root. A table for people, then the same as JSON lines. Nothing here fails for being
//! slow: machines differ, so figures mean something only beside those of the same run.
//! Words on the command line choose: `store`, `many`, `apply`, `idle`, and `embedded` or `etcd` among the forms.

use berth_e2e::StoreForm::{self, Embedded, Etcd};

mod apply;
mod bare;
mod idle;
mod many;
mod measure;
mod store;

use measure::Report;

const FORMS: [(&str, StoreForm); 2] = [("embedded", Embedded), ("etcd", Etcd("3.5.1"))];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |among: &[&str], name: &str| {
        !words.iter().any(|word| among.contains(&word.as_str())) || words.iter().any(|word| word == name)
    };
    let part = |name| wanted(&["store", "many", "apply", "idle"], name);
    berth_e2e::namespaces::enter();
    let mut report = Report::default();
    if part("store") {
        store::measure(&mut report);
    }
    for (name, form) in FORMS.into_iter().filter(|(name, _)| wanted(&["embedded", "etcd"], name)) {
        if part("many") {
            many::measure(name, form, &mut report);
        }
        if part("apply") {
            apply::measure(name, form, &mut report);
        }
        if part("idle") {
            idle::measure(name, form, &mut report);
        }
    }
    report.print_json();
}
