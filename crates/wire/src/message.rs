//! The message in the queue between the API and the dispatcher: an id and nothing else. The truth is in the store.

use serde::{Deserialize, Serialize};

/// That a job waits. May come twice, late or never.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The job: `build-`, `import-`, `repair-` or `dry_run-` and its id.
    pub job: String,
}
