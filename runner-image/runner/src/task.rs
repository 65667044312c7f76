//! Background tasks with an owner.

use tokio_util::task::AbortOnDropHandle;

/// Starts a task that ends at the latest when the answered handle is dropped.
#[allow(clippy::disallowed_methods)] // the one place: the handle is the owner
pub(crate) fn owned<F>(future: F) -> AbortOnDropHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    AbortOnDropHandle::new(tokio::task::spawn(future))
}
