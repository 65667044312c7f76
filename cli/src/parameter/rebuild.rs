//! Answers to the next build of a workspace that exists.

use crate::{
    failure::Outcome,
    parameter::{AlwaysPrompt, Asking, ParameterFlags, known},
    session::Session,
};
use berth_client::Client;
use berth_wire::{domain::ParameterValue, workspace::Workspace};
use uuid::Uuid;

/// What was typed for a build.
#[derive(Debug, Clone, Copy)]
pub struct Typed<'a> {
    /// The answers.
    pub flags: &'a ParameterFlags,
    /// Whether to ask again.
    pub always: AlwaysPrompt,
    /// Whether nothing is asked that has a default.
    pub yes: bool,
}

impl Typed<'_> {
    /// The answers to send for a build of `version`, checked before anything is sent or stopped; nothing when none is given and the
    /// version stays. Two requests at the most.
    ///
    /// # Errors
    /// When an answer will not do, or is missing and cannot be asked for.
    pub async fn answers(
        self,
        session: &Session,
        client: &Client,
        workspace: &Workspace,
        version: Uuid,
    ) -> Outcome<Vec<ParameterValue>> {
        let given = self.flags.given(&session.config.environment)?;
        let build = &workspace.latest_build;
        let asks = self.always.always_prompt || self.flags.prompt_ephemeral_parameters;
        if given.values.is_empty() && !asks && version == build.template_version_id {
            return Ok(Vec::new());
        }
        let parameters = known(&client.version_parameters(version).await?)?;
        let previous = client.build_parameters(build.id).await?;
        let asking = Asking {
            parameters: &parameters,
            previous: Some(&previous),
            preset: &[],
            yes: self.yes,
            always: self.always.always_prompt,
            ephemeral: self.flags.prompt_ephemeral_parameters,
        };
        asking.complete(given, session.printer)
    }
}
