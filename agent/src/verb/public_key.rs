//! `publickey`: the key to add to a git server.

use super::words::{Words, unknown};
use super::{Call, Outcome, say, tell};

/// Prints the public key of the workspace's owner.
pub(super) fn run(call: &Call<'_>) -> Outcome {
    if let Some(word) = Words::of(call.rest).next() {
        return Err(unknown(&word, "publickey (another key is made by `berth publickey --reset` on your own machine)"));
    }
    let key = call.ask(async |client| client.git_key().await)?;
    tell("The key with which git in your workspaces proves who you are; add it where your repositories are:");
    say(key.public_key.trim_end())
}
