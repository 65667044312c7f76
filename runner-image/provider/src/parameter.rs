//! A parameter as Terraform reads it. The rules are those of the domain, which the API and the CLI apply to what a person types: an
//! answer that they take does not fail here.

use berth_domain::{ParameterProblem, parameter::Parameter};

use crate::diagnostic::Diagnostic;

pub(crate) use berth_domain::parameter::{FORM_TYPES, TYPES};

/// What the declaration and the input come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) value: String,
    pub(crate) form_type: String,
}

/// The value: the input, else the default, else empty. `previous` is the value of the build before.
pub(crate) fn resolve(parameter: &Parameter, input: Option<&str>, previous: Option<&str>) -> Result<Resolved, Diagnostic> {
    let form_type = parameter.declared().map_err(diagnostic)?;
    let value = parameter.value(input, previous).map_err(diagnostic)?;
    Ok(Resolved { value: value.to_owned(), form_type: form_type.to_owned() })
}

fn diagnostic(problem: ParameterProblem) -> Diagnostic {
    let diagnostic = Diagnostic::error(problem.summary.clone(), problem.to_string());
    match problem.attribute {
        Some(attribute) => diagnostic.about(attribute),
        None => diagnostic,
    }
}

#[cfg(test)]
mod tests;
