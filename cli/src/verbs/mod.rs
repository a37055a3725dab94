//! One module per verb: what it asks the API for, and what it says about it.

mod answer;
mod apply;
mod consent;
mod contents;
mod delete;
mod describe;
mod down;
mod get;
mod logs;
mod refusals;
mod rollout;
mod scale;
mod up;
mod validate;
mod version;
mod wait;

use crate::api::Api;
use crate::failure::Failure;
use crate::request::{Request, Task};

/// Carries a request out.
pub async fn carry_out(request: Request) -> Result<(), Failure> {
    let servers = request.servers;
    let api = || Api::at(&servers);
    match request.task {
        Task::Apply(task) => apply::run(api, &task).await,
        Task::Get(task) => get::run(&api()?, &task).await,
        Task::Describe(selection) => describe::run(&api()?, &selection).await,
        Task::Delete(task) => delete::run(api, &task).await,
        Task::Scale(task) => scale::run(&api()?, &task).await,
        Task::RolloutStatus(task) => rollout::status(&api()?, &task).await,
        Task::RolloutUndo(selection, to) => rollout::undo(&api()?, &selection, to).await,
        Task::RolloutRestart(selection) => rollout::restart(&api()?, &selection).await,
        Task::RolloutHistory(selection) => rollout::history(&api()?, &selection).await,
        Task::Logs(task) => logs::run(&api()?, &task).await,
        Task::Wait(task) => wait::run(&api()?, &task).await,
        Task::Validate(inputs) => validate::run(&inputs),
        Task::Version(task) => version::run(api, task).await,
        Task::Up(task) => up::run(*task).await,
        Task::Down(task) => down::run(&task).await,
    }
}
