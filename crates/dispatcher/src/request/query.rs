//! Query strings: known parameters only, each wrong one named.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use klaroen_domain::phone::{Country, PhoneNumber};
use klaroen_store::{Page, PageRequest};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::fields::Report;
use crate::problem::{FieldError, Problem};

/// Items on a page unless the client says otherwise.
pub const LIMIT_DEFAULT: u16 = 100;
/// Items on a page at most.
pub const LIMIT_MAX: u16 = 500;
/// No cursor of ours is longer.
const CURSOR_BYTES_MAX: usize = 512;

/// The parameters of a query string as they came.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    pairs: Vec<(String, String)>,
    misnamed: Vec<FieldError>,
}

/// Errors in the names of the parameters of a request, found before its reader looks at their values.
#[derive(Clone, Debug)]
pub struct Misnamed(pub Vec<FieldError>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::<Vec<(String, String)>>::from_request_parts(parts, state).await {
            Ok(Query(pairs)) => {
                let misnamed = parts.extensions.remove::<Misnamed>().map(|m| m.0).unwrap_or_default();
                Ok(Self { pairs, misnamed })
            }
            Err(_) => Err(Problem::malformed("the query string is not readable")),
        }
    }
}

impl Parameters {
    /// A report that has what is wrong with their names.
    #[must_use]
    pub fn report(&self) -> Report {
        let report = Report::default();
        for FieldError { pointer, detail } in &self.misnamed {
            report.add(pointer.clone(), detail.clone());
        }
        report
    }

    /// The value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Notes parameters that are unknown or stand there twice: a filter with a typing error would show everything. Notes
    /// control characters, too: nothing has any, and PostgreSQL takes no U+0000.
    pub fn only(&self, known: &[String], report: &Report) {
        for (i, (name, value)) in self.pairs.iter().enumerate() {
            if !known.contains(name) {
                let name: String = name.chars().take(100).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                report.add(
                    format!("/{name}"),
                    format!("is not a parameter of this call; its parameters: {known}"),
                );
            } else if self.pairs[..i].iter().any(|(earlier, _)| earlier == name) {
                report.add(format!("/{name}"), "is given twice");
            } else if value.contains(char::is_control) {
                report.add(format!("/{name}"), "must not have control characters");
            }
        }
    }

    /// Which page is wanted.
    pub fn page(&self, report: &Report) -> PageRequest {
        let limit = match self.get("limit").map(str::parse::<u16>) {
            None => LIMIT_DEFAULT,
            Some(Ok(n)) if (1..=LIMIT_MAX).contains(&n) => n,
            Some(_) => {
                report.add("/limit", format!("must be a whole number from 1 to {LIMIT_MAX}"));
                LIMIT_DEFAULT
            }
        };
        let cursor = self.get("cursor").map(str::to_owned);
        if cursor.as_ref().is_some_and(|c| c.is_empty() || c.len() > CURSOR_BYTES_MAX) {
            report.add("/cursor", "is not a cursor of this list");
        }
        PageRequest { limit, cursor }
    }

    /// Reads a parameter that is one of some words.
    pub fn word<T: std::str::FromStr>(&self, name: &str, words: &[&str], report: &Report) -> Option<T> {
        let value = self.get(name)?;
        let parsed = value.parse().ok();
        if parsed.is_none() {
            report.add(format!("/{name}"), format!("must be one of: {}", words.join(", ")));
        }
        parsed
    }

    /// Reads a parameter that is a phone number; numbers without a country code belong to `country`.
    pub fn phone(&self, name: &str, country: Country, report: &Report) -> Option<PhoneNumber> {
        let text = self.get(name)?;
        // A plus sign that was not encoded arrives as a space.
        let text = text.strip_prefix(' ').map_or_else(|| text.to_owned(), |rest| format!("+{rest}"));
        PhoneNumber::parse(&text, country)
            .map_err(|error| report.add(format!("/{name}"), error.to_string()))
            .ok()
    }

    /// Reads a parameter that is `true` or `false`; `false` without it.
    pub fn flag(&self, name: &str, report: &Report) -> bool {
        self.word(name, &["true", "false"], report).unwrap_or(false)
    }
}

/// Reads the page of a list that has no other parameters.
///
/// # Errors
/// 422 with every wrong parameter.
pub fn page_only(parameters: &Parameters) -> Result<PageRequest, Problem> {
    let report = parameters.report();
    let page = parameters.page(&report);
    report.finish(Some(page))
}

/// The parameters of every list.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageParameters {
    /// Number of items on a page.
    #[param(minimum = 1, maximum = 500, default = 100)]
    pub limit: Option<u16>,
    /// `next_cursor` of the page before.
    #[param(max_length = 512, min_length = 1, pattern = "^[!-~]+$")]
    pub cursor: Option<String>,
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct List<T> {
    /// The items in the order of the list.
    pub items: Vec<T>,
    /// The `cursor` of the next page. `null` on the last page.
    pub next_cursor: Option<String>,
}

impl<T> List<T> {
    /// A page of the store as it is shown.
    pub fn from_page<U>(page: Page<U>, show: impl FnMut(U) -> T) -> Self {
        Self { items: page.items.into_iter().map(show).collect(), next_cursor: page.next_cursor }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        let pairs = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Parameters { pairs, misnamed: Vec::new() }
    }

    #[rstest]
    #[case("0")]
    #[case("501")]
    #[case("-1")]
    #[case("ten")]
    #[case("")]
    #[case("99999999999")]
    fn a_limit_out_of_range_is_named(#[case] limit: &str) {
        let problem = page_only(&parameters(&[("limit", limit)])).unwrap_err();
        assert_eq!((problem.status, problem.errors[0].pointer.as_str()), (422, "/limit"));
    }

    #[test]
    fn unknown_and_repeated_parameters_are_named_at_once() {
        let wrong = parameters(&[("limit", "1"), ("limit", "2"), ("stat", "x"), ("cursor", "")]);
        let report = Report::default();
        wrong.only(&["limit", "cursor"].map(str::to_owned), &report);
        let pointers: Vec<String> = report.into_errors().into_iter().map(|e| e.pointer).collect();
        assert_eq!(pointers, ["/limit", "/stat"]);
        assert_eq!(page_only(&wrong).unwrap_err().errors[0].pointer, "/cursor");
        let page = page_only(&parameters(&[("limit", "500"), ("cursor", "abc")])).unwrap();
        assert_eq!(page, PageRequest { limit: 500, cursor: Some("abc".into()) });
        assert_eq!(page_only(&Parameters::default()).unwrap().limit, 100);
    }

    #[test]
    fn a_value_that_no_database_takes_is_named() {
        let report = Report::default();
        let names = ["reference", "state"].map(str::to_owned);
        parameters(&[("reference", "2026\0"), ("state", "active")]).only(&names, &report);
        let pointers: Vec<String> = report.into_errors().into_iter().map(|e| e.pointer).collect();
        assert_eq!(pointers, ["/reference"]);
    }
}
