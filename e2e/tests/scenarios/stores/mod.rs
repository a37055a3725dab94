//! The store in trouble: members of etcd die, hang and lose each other, a backup is restored, disks are full.

use berth_e2e::pace::Pace;
use berth_e2e::{Part, Plan};

pub mod disks;
pub mod members;
pub mod restored;
pub mod space;
mod witness;

/// An App whose containers must notice nothing.
const STEADY: &str = "apiVersion: berth.dev/v1
kind: App
metadata: {name: steady}
spec:
  replicas: 2
  template:
    spec:
      drainDelaySeconds: 0
      terminationGracePeriodSeconds: 1
      containers:
        - name: main
          command: [sleep, '100000']
          resources: {requests: {cpu: 10m, memory: 8Mi}, limits: {memory: 32Mi}}
";

/// Durations scaled to a fifth.
fn quick(plan: Plan) -> Plan {
    plan.config(Part::Apiserver, &Pace::Fifth.apiserver())
        .config(Part::Controllers, &Pace::Fifth.controllers())
        .config(Part::Agent, &Pace::Fifth.agent())
}
