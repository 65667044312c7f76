//! Tickets that bring a sign-in to an app's host: spent once.

use berth_domain::Timestamp;
use uuid::Uuid;

use crate::{
    Store, TableError,
    table::{Key, WriteError},
    write::Write,
};

/// How long after its end a spent ticket is remembered: for longer than it could be shown again, clocks that differ included.
const REMEMBERED_SECONDS: i64 = 3600;

impl Store {
    /// Spends the ticket with this id, which ends at `ends`; false when it was spent before. `by` is drawn anew by each who tries: a write that
    /// finds what it wanted to write takes it for its own. One write.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn spend_app_ticket(&self, id: Uuid, by: Uuid, ends: Timestamp) -> Result<bool, TableError> {
        let key = Key::new(format!("APP_TICKET#{id}"), "APP_TICKET");
        let write = Write::insert(key, &by)?.until(ends.as_second() + REMEMBERED_SECONDS);
        match self.table.write(write).await {
            Ok(()) => Ok(true),
            Err(WriteError::Refused { .. }) => Ok(false),
            Err(WriteError::Table(error)) => Err(error),
        }
    }
}
