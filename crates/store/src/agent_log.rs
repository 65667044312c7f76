//! Agents' logs.

use berth_domain::AgentId;
use berth_wire::agent::{AgentLog, Logs};

use crate::{
    Agent, AgentLogError, Store, TableError, agent,
    log::{Size, is_full},
    table::{RACES_MAX, pause},
};

fn log(id: AgentId) -> String {
    format!("LOG#agent-{id}")
}

impl Store {
    /// Adds lines to an agent's log and says the number of its last line. A read and a transaction.
    ///
    /// # Errors
    /// [`AgentLogError::Full`] once the log was cut.
    pub async fn append_agent_logs(&self, agent: &Agent, logs: Logs) -> Result<u64, AgentLogError> {
        let (id, key) = (agent.id, agent::key(agent.workspace, agent.id));
        for attempt in 0..RACES_MAX {
            let row = self.table.get::<Agent>(&key).await?.ok_or(AgentLogError::Missing(id))?;
            if is_full(row.bytes) {
                return Err(AgentLogError::Full(id));
            }
            let source_id = logs.log_source_id;
            let lines = logs.logs.iter().cloned();
            let lines = lines.map(|line| AgentLog {
                id: 0,
                created_at: line.created_at,
                output: line.output,
                level: line.level,
                source_id,
            });
            let size = Size { lines: row.lines, bytes: row.bytes, until: None };
            match self.append(&log(id), &key, size, lines.collect()).await? {
                Some(last) => return Ok(last),
                None => pause(attempt).await,
            }
        }
        Err(TableError::Contention(log(id)).into())
    }

    /// At most `limit` lines of an agent's log after line `after`. One Query, more for very many lines.
    ///
    /// # Errors
    /// When the table fails.
    pub async fn agent_logs(&self, id: AgentId, after: u64, limit: usize) -> Result<Vec<AgentLog>, TableError> {
        self.lines(&log(id), after, limit).await
    }
}
