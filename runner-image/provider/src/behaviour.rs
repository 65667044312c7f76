//! The verbs that a noun may bring beyond its rows: what reading, planning, creating and deleting it do.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;
use uuid::Uuid;

use crate::diagnostic::Diagnostic;
use crate::environment::Environment;
use crate::url::AccessUrl;
use crate::value::{Object, Value};

/// What a verb knows besides the object that it works on.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// The names and values of this build.
    pub(crate) environment: Arc<Environment>,
    /// The URL of the deployment.
    pub(crate) access_url: Arc<AccessUrl>,
    /// Turns true when Terraform was interrupted: waiting verbs give up then.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// Reads a data source: fills the computed attributes of the given configuration.
pub(crate) type ReadData = fn(&Context, &mut Object) -> Vec<Diagnostic>;

/// Completes and checks a planned object, knowing the configuration. Values may be unknown.
pub(crate) type Customise = fn(&mut Object) -> Vec<Diagnostic>;

/// Why a resource must be replaced though its configuration is unchanged: the name of the attribute that tells.
pub(crate) type Broken = fn(&Object) -> Option<&'static str>;

/// Creates, reads, updates or deletes: takes the planned or stored object, gives the new one.
pub(crate) type Act = fn(Context, Object) -> Pending;

/// Completes a stored object of which an import could not know everything, when it is what is planned.
pub(crate) type Adopt = fn(&Object, &Object) -> Option<Object>;

/// Finds what exists under an id: for a process its own, for a directory its path.
pub(crate) type Import = fn(Context, String) -> Pending;

/// A verb under way.
pub(crate) type Pending = Pin<Box<dyn Future<Output = Done> + Send>>;

/// How a verb ended: the object as it is now (nothing when it does not exist) and what to tell.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) state: Option<Object>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// The verbs of a resource.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hooks {
    pub(crate) customise: Customise,
    pub(crate) broken: Broken,
    pub(crate) adopt: Adopt,
    pub(crate) import: Option<Import>,
    pub(crate) create: Act,
    pub(crate) read: Act,
    pub(crate) update: Act,
    pub(crate) delete: Act,
}

impl Hooks {
    /// A resource that exists only in the state: creation gives it an id, nothing else happens.
    pub(crate) const PLAIN: Self = Self {
        customise: |_| Vec::new(),
        broken: |_| None,
        adopt: |_, _| None,
        import: None,
        create: |_, planned| now(with_new_id(planned)),
        read: |_, state| now(state),
        update: |_, planned| now(planned),
        delete: |_, _| Box::pin(std::future::ready(Done::default())),
    };
}

impl Done {
    /// The object exists.
    pub(crate) fn exists(state: Object) -> Self {
        Self { state: Some(state), diagnostics: Vec::new() }
    }

    /// The object does not exist.
    pub(crate) fn gone() -> Self {
        Self::default()
    }

    /// The object does not exist, because of this.
    pub(crate) fn failed(diagnostic: Diagnostic) -> Self {
        Self { state: None, diagnostics: vec![diagnostic] }
    }

    /// The same end with one more thing to tell.
    pub(crate) fn telling(mut self, diagnostic: Diagnostic) -> Self {
        self.diagnostics.push(diagnostic);
        self
    }
}

/// A verb that has already ended, with `state` existing.
pub(crate) fn now(state: Object) -> Pending {
    Box::pin(std::future::ready(Done::exists(state)))
}

/// The object with a fresh id.
pub(crate) fn with_new_id(mut object: Object) -> Object {
    object.insert("id".into(), new_uuid());
    object
}

/// A fresh random UUID.
pub(crate) fn new_uuid() -> Value {
    Value::text(Uuid::new_v4().to_string())
}
