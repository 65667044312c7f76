//! What every command that talks to a deployment works with.

use crate::{
    config::Config,
    failure::{Failure, Outcome},
    name::WorkspaceRef,
    printer::Printer,
};
use berth_client::{Client, ClientError};
use berth_wire::workspace::Workspace;

/// Configuration and printer of this run.
#[derive(Debug, Clone)]
pub struct Session {
    /// Where to talk to.
    pub config: Config,
    /// Where to print.
    pub printer: Printer,
}

impl Session {
    /// A client of the deployment, without asking for a token.
    ///
    /// # Errors
    /// When no deployment is known.
    pub fn anonymous(&self) -> Outcome<Client> {
        let deployment = self.config.deployment()?;
        Ok(Client::new(&deployment.url, None)?)
    }

    /// A client of the deployment as the signed-in user.
    ///
    /// # Errors
    /// When no deployment is known, or nobody is signed in.
    pub fn client(&self) -> Outcome<Client> {
        let deployment = self.config.deployment()?;
        let Some(token) = deployment.token else {
            return Err(Failure::new(format!("you are not signed in to {}", deployment.url))
                .hint(format!("`berth login {}`", deployment.url)));
        };
        Ok(Client::new(&deployment.url, Some(token))?)
    }
}

/// The workspace that a name stands for.
///
/// # Errors
/// When it does not exist or the API cannot be asked.
pub async fn find_workspace(client: &Client, reference: &WorkspaceRef) -> Outcome<Workspace> {
    client.workspace_by_name(reference.owner_or_me(), reference.workspace.as_str()).await.map_err(|error| {
        if error.is_not_found() {
            let hint = match reference.owner {
                None => format!("`berth list` shows yours, `berth create {}` makes it", reference.workspace),
                Some(_) => "`berth list --all` shows those you may see".to_owned(),
            };
            return Failure::new(format!("workspace {:?} does not exist", reference.typed())).hint(hint);
        }
        error.into()
    })
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let clause = crate::failure::chain(&error);
        let hint = match &error {
            ClientError::Unreachable { .. } => "is the address right and Berth running? `berth server` runs one on this machine",
            ClientError::Broken { .. } => "the connection was lost; try again",
            ClientError::Decode { .. } | ClientError::TooLarge { .. } => {
                "is this a Berth deployment, and as new as your berth? `berth version`"
            }
            ClientError::Url { .. } => "it looks like https://berth.example.com",
            ClientError::Token => "copy it again, without line breaks",
            ClientError::Elsewhere { .. } => "may this machine reach that host? Proxies and firewalls must let it through",
            ClientError::File { .. } => "mend the file and try again",
            ClientError::Setup(_) => "check the certificates of this machine",
            error if error.is_unauthorized() => "sign in again: `berth login`",
            error if error.is_forbidden() => "ask an owner of the deployment",
            error if error.is_conflict() => "look at it with `berth show`, then try again",
            error if error.is_transient() => "wait a moment and try again",
            ClientError::Api { .. } => return Self::new(clause),
        };
        Self::new(clause).hint(hint)
    }
}
