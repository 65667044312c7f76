//! The provider itself: the calls of the protocol over plain values, driven by the schema table.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use crate::behaviour::{Context, Done};
use crate::diagnostic::Diagnostic;
use crate::environment::Environment;
use crate::plan::{Fill, fill, keep_equal, replacing, settle};
use crate::schema::{Kind, Noun, PROVIDER, schema};
use crate::url::{AccessUrl, PLACEHOLDER};
use crate::validate::validate;
use crate::value::{Object, Value, at};

/// The environment that every connection reads; it may be replaced between two commands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared(Arc<RwLock<Arc<Environment>>>);

impl Shared {
    pub(crate) fn new(environment: Environment) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(environment))))
    }

    pub(crate) fn replace(&self, environment: Environment) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(environment);
    }

    fn now(&self) -> Arc<Environment> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One connection of Terraform: one `provider` configuration, told to stop on its own.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    shared: Shared,
    configured: Arc<RwLock<Option<Arc<AccessUrl>>>>,
    stop: Arc<watch::Sender<bool>>,
}

/// A plan: the object to be, what forces a replacement, and what to tell.
#[derive(Debug, Default)]
pub(crate) struct Planned {
    pub(crate) state: Value,
    pub(crate) requires_replace: Vec<&'static str>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// A value and what to tell.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) state: Value,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// The row of a data source type.
pub(crate) fn data(name: &str) -> Result<&'static Noun, Diagnostic> {
    find(name, true)
}

/// The row of a resource type.
pub(crate) fn resource(name: &str) -> Result<&'static Noun, Diagnostic> {
    find(name, false)
}

fn find(name: &str, is_data: bool) -> Result<&'static Noun, Diagnostic> {
    let found = schema().iter().find(|noun| noun.name == name && noun.is_data() == is_data);
    found.copied().ok_or_else(|| Diagnostic::error("unknown type", format!("this provider does not serve \"{name}\"")))
}

impl Session {
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared, configured: Arc::default(), stop: Arc::new(watch::Sender::new(false)) }
    }

    /// Takes the `provider` block.
    pub(crate) fn configure(&self, config: &Value) -> Vec<Diagnostic> {
        let Value::Map(config) = config else { return Vec::new() };
        let found = validate(&PROVIDER, config);
        if !found.is_empty() {
            return found;
        }
        // An unknown url is known when the apply configures again.
        let Some(url) = at(config, "url").as_text() else { return Vec::new() };
        match AccessUrl::parse(url) {
            Ok(url) => {
                *self.configured.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(url));
                Vec::new()
            }
            Err(why) => vec![Diagnostic::error("invalid url", why).about("url")],
        }
    }

    /// Ends what waits. Calls that come later find it ended too: Terraform is about to leave.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Checks the configuration of a data source or resource.
    pub(crate) fn check(noun: &Noun, config: &Value) -> Vec<Diagnostic> {
        config.as_object().map(|config| validate(&noun.block, config)).unwrap_or_default()
    }

    /// Reads a data source.
    pub(crate) fn read_data(&self, noun: &Noun, config: &Value) -> Answer {
        let (Kind::Data(verb), Value::Map(config)) = (&noun.kind, config) else { return Answer::default() };
        let context = match self.context() {
            Ok(context) => context,
            Err(diagnostic) => return Answer { state: Value::Null, diagnostics: vec![diagnostic] },
        };
        let mut object = fill(&noun.block, config, Fill::Read);
        let mut diagnostics = validate(&noun.block, config);
        diagnostics.retain(Diagnostic::is_error);
        if diagnostics.is_empty() {
            diagnostics = (verb.0)(&context, &mut object);
        }
        Answer { state: Value::Map(settle(&noun.block, &object)), diagnostics }
    }

    /// Plans a resource: `prior` and `config` are null when it does not exist or must not.
    pub(crate) fn plan(noun: &Noun, prior: &Value, config: &Value) -> Planned {
        let (Kind::Resource(verbs), Value::Map(config)) = (&noun.kind, config) else { return Planned::default() };
        let prior = prior.as_object();
        let mut planned = fill(&noun.block, config, prior.map_or(Fill::Create, Fill::Update));
        let diagnostics = (verbs.0.customise)(&mut planned);
        if let Some(prior) = prior {
            keep_equal(&noun.block, prior, &mut planned);
        }
        let adopted = prior.and_then(|prior| (verbs.0.adopt)(prior, &planned));
        let mut requires_replace =
            adopted.as_ref().or(prior).map(|prior| replacing(&noun.block, prior, &planned)).unwrap_or_default();
        if let Some(attribute) = prior.and_then(verbs.0.broken) {
            planned.insert(attribute.into(), Value::Unknown);
            requires_replace.push(attribute);
        }
        Planned { state: Value::Map(planned), requires_replace, diagnostics }
    }

    /// Creates, updates or deletes a resource as planned.
    pub(crate) async fn apply(&self, noun: &Noun, prior: Value, planned: Value) -> Answer {
        let Kind::Resource(verbs) = &noun.kind else { return Answer::default() };
        let context = match self.context() {
            Ok(context) => context,
            Err(diagnostic) => return Answer { state: prior, diagnostics: vec![diagnostic] },
        };
        let done = match (prior, planned) {
            (Value::Map(prior), Value::Map(planned)) => (verbs.0.update)(context, complete(prior, planned)).await,
            (Value::Map(prior), _) => (verbs.0.delete)(context, prior).await,
            (_, Value::Map(planned)) => (verbs.0.create)(context, planned).await,
            _ => Done::gone(),
        };
        answer(noun, done)
    }

    /// Reads a resource again: null when it is gone.
    pub(crate) async fn read(&self, noun: &Noun, state: Value) -> Answer {
        let (Kind::Resource(verbs), Value::Map(object)) = (&noun.kind, state) else { return Answer::default() };
        match self.context() {
            Ok(context) => answer(noun, (verbs.0.read)(context, object).await),
            Err(diagnostic) => Answer { state: Value::Map(object), diagnostics: vec![diagnostic] },
        }
    }

    /// Finds a resource that exists under this id, for an `import` block: null when there is none.
    pub(crate) async fn import(&self, noun: &Noun, id: String) -> Answer {
        let Kind::Resource(verbs) = &noun.kind else { return Answer::default() };
        let Some(import) = verbs.0.import else {
            let detail = format!("a {} exists only in the state: remove the import block, and the build creates it", noun.name);
            return Answer { state: Value::Null, diagnostics: vec![Diagnostic::error("nothing to import", detail)] };
        };
        match self.context() {
            Ok(context) => answer(noun, import(context, id).await),
            Err(diagnostic) => Answer { state: Value::Null, diagnostics: vec![diagnostic] },
        }
    }

    fn context(&self) -> Result<Context, Diagnostic> {
        let environment = self.shared.now();
        let configured = self.configured.read().unwrap_or_else(PoisonError::into_inner).clone();
        let access_url = match configured {
            Some(url) => url,
            None => {
                let url = environment.get("CODER_AGENT_URL").unwrap_or(PLACEHOLDER);
                let invalid = |why| Diagnostic::error("invalid CODER_AGENT_URL", why);
                Arc::new(AccessUrl::parse(url).map_err(invalid)?)
            }
        };
        Ok(Context { environment, access_url, stopping: self.stop.subscribe() })
    }
}

/// The planned object, with what only creation sets taken from the stored one.
fn complete(prior: Object, mut planned: Object) -> Object {
    for (name, stored) in prior {
        let value = planned.entry(name).or_default();
        if *value == Value::Unknown {
            *value = stored;
        }
    }
    planned
}

fn answer(noun: &Noun, done: Done) -> Answer {
    let state = done.state.map_or(Value::Null, |state| Value::Map(settle(&noun.block, &state)));
    Answer { state, diagnostics: done.diagnostics }
}
