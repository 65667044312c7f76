//! The process's environment, read once.

use std::collections::HashMap;

/// The environment variables, by name; empty ones are as if they were not set.
#[derive(Clone, Default)]
pub struct Environment(HashMap<String, String>);

/// Why the environment makes no configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// A variable that must be there is not.
    #[error(
        "the environment variable {0} is missing; infra/ sets it, so deploy the stack again, or set it in the function's configuration"
    )]
    Missing(&'static str),
    /// A variable holds what it cannot hold. Its value may be a secret and is not told.
    #[error("the environment variable {name} is not {wanted}; infra/ sets it, so deploy the stack again, or correct it")]
    Malformed {
        /// The variable.
        name: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
}

impl Environment {
    /// The process's own. Variables that are not UTF-8 are left out: ours are.
    #[must_use]
    pub fn of_process() -> Self {
        Self::of(std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))))
    }

    /// One of these variables.
    #[must_use]
    pub fn of(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(variables.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }

    /// A variable that may be missing.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A variable that must be there.
    ///
    /// # Errors
    /// When it is missing.
    pub fn needed(&self, name: &'static str) -> Result<String, EnvironmentError> {
        self.get(name).map(str::to_owned).ok_or(EnvironmentError::Missing(name))
    }

    /// A URL that must be there, without a final slash.
    ///
    /// # Errors
    /// When it is missing or no http or https URL.
    pub fn url(&self, name: &'static str) -> Result<String, EnvironmentError> {
        check_url(name, &self.needed(name)?)
    }

    /// Such URLs with commas between them, at least one.
    ///
    /// # Errors
    /// When there is none, or one is no http or https URL.
    pub fn urls(&self, name: &'static str) -> Result<Vec<String>, EnvironmentError> {
        self.needed(name)?;
        self.list(name).iter().map(|url| check_url(name, url)).collect()
    }

    /// The items of a list with commas, without empty ones; none when the variable is missing.
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<String> {
        let items = self.get(name).unwrap_or_default().split(',').map(str::trim);
        items.filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }
}

fn check_url(name: &'static str, url: &str) -> Result<String, EnvironmentError> {
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or_default();
    if host.is_empty() || host.starts_with('/') || url.contains(char::is_whitespace) {
        return Err(EnvironmentError::Malformed { name, wanted: "a URL such as https://berth.example.com" });
    }
    Ok(url.trim_end_matches('/').to_owned())
}

impl std::fmt::Debug for Environment {
    /// The names alone: some values are secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Environment {
        Environment::of(variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())))
    }

    #[test]
    fn what_is_missing_or_malformed_is_named_and_no_value_is_told() {
        let missing = of(&[("A", "")]).needed("A").unwrap_err().to_string();
        assert!(missing.starts_with("the environment variable A is missing"), "{missing}");
        for wrong in ["secret", "https://", "https:///x", "https://a b"] {
            let told = of(&[("A", wrong)]).url("A").unwrap_err().to_string();
            assert!(told.contains("A is not a URL") && !told.contains("secret"), "{told}");
        }
        assert!(!format!("{:?}", of(&[("A", "secret")])).contains("secret"));
    }

    #[test]
    fn a_list_is_split_at_commas_and_a_url_loses_its_slash() {
        let environment = of(&[("A", "a, b,,"), ("U", "https://h/")]);
        assert_eq!(environment.list("A"), ["a", "b"]);
        assert!(environment.list("B").is_empty());
        assert_eq!(environment.url("U").unwrap(), "https://h");
    }
}
