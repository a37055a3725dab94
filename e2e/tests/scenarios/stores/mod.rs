//! The store in trouble: members of etcd die, hang and lose each other, a backup is restored, disks are full.

use std::time::Duration;

use berth_e2e::soak;

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
  minReadySeconds: 0
  template:
    spec:
      drainDelaySeconds: 0
      terminationGracePeriodSeconds: 1
      containers:
        - name: main
          command: [sleep, '100000']
          resources: {requests: {cpu: 10m, memory: 8Mi}, limits: {memory: 32Mi}}
";

/// For longer than a judgement takes.
fn judgement() -> Duration {
    soak::paced(Duration::from_secs(30))
}
