//! The mistakes in manifests, before the cluster finds them.
//!
//! ```text
//! files ──► documents ──► schema ──► rules (CEL) ──► meaning (pools, policies, requests) ──► mistakes
//!                                                     └──► world (overlaps, what a Service would be told)
//! ```
//!
//! Each step looks at what the one before let through. The schema and the rules are those of the CRDs themselves, the
//! meaning is read by the code of the controller. Pure; files and the cluster are read by the shell.

mod documents;
mod meaning;
mod schema;
#[cfg(test)]
mod tests;
mod world;

use std::collections::BTreeMap;
use std::fmt;

use kube::core::cel::Validator;
use serde::Serialize;
use serde_json::Value;

pub(crate) use documents::{Document, place, read};

use crate::picture::Picture;
use crate::words::{about, plain};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum Gravity {
    /// It is refused, or does not do what it says.
    Mistake,
    /// It works, and may not be meant.
    Doubt,
}

/// One finding: where, in which object and field, what is wrong and what would help.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Finding {
    pub(crate) gravity: Gravity,
    pub(crate) place: String,
    pub(crate) object: String,
    pub(crate) field: String,
    pub(crate) problem: String,
}

impl Finding {
    fn new(document: &Document, field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            gravity: Gravity::Mistake,
            place: document.place.clone(),
            object: document.object(),
            field: field.into(),
            problem: problem.into(),
        }
    }

    /// A file that is none.
    pub(crate) fn unreadable(place: &str, error: String) -> Self {
        Self {
            gravity: Gravity::Mistake,
            place: place.to_owned(),
            object: String::new(),
            field: String::new(),
            problem: format!("is neither YAML nor JSON: {error}"),
        }
    }

    /// What the API server says against an object.
    pub(crate) fn refused(document: &Document, message: &str) -> Self {
        Self::new(
            document,
            "",
            format!("the API server refuses it: {message}"),
        )
    }

    /// In words, where it is plain from where it comes.
    pub(crate) fn without_place(&self) -> String {
        match self.field.as_str() {
            "" => format!("{}: {}", self.object, self.problem),
            field => format!("{}: {field}: {}", self.object, self.problem),
        }
    }

    fn doubt(self) -> Self {
        Self {
            gravity: Gravity::Doubt,
            ..self
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.gravity {
            Gravity::Mistake => "✗",
            Gravity::Doubt => "?",
        };
        let said = match self.field.as_str() {
            "" => plain(&self.problem),
            field => about(&plain(field), &self.problem),
        };
        write!(f, "{mark} {}: ", plain(&self.place))?;
        if !self.object.is_empty() {
            write!(f, "{}: ", plain(&self.object))?;
        }
        f.write_str(&said)
    }
}

/// Everything that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Findings {
    /// How many objects were looked at.
    pub(crate) checked: usize,
    /// How many are of kinds that are not Landfall's business.
    pub(crate) passed_over: usize,
    pub(crate) findings: Vec<Finding>,
}

impl Findings {
    pub(crate) fn well(&self) -> bool {
        let mut all = self.findings.iter();
        !all.any(|finding| finding.gravity == Gravity::Mistake)
    }
}

/// Looks at the documents; in the cluster of the picture, where there is one.
///
/// # Errors
/// Never for what stands in documents: only when the CRDs themselves cannot be written as JSON.
pub(crate) fn check(documents: &[Document], picture: Option<&Picture>) -> anyhow::Result<Findings> {
    let schemas = schemas()?;
    let mut found = Findings::default();
    let mut good: Vec<&Document> = Vec::new();
    let mut seen: BTreeMap<String, &Document> = BTreeMap::new();
    for document in documents {
        let before = found.findings.len();
        let kind = meaning::kind(document, &mut found.findings);
        if kind.is_none() && found.findings.len() == before {
            found.passed_over += 1;
            continue;
        }
        found.checked += 1;
        let Some(kind) = kind else {
            continue;
        };
        if let Some(first) = seen.insert(document.object(), document) {
            found.findings.push(Finding::new(
                document,
                "metadata.name",
                format!("there is one of this name in {} already; the last one applied wins: rename one of the two", first.place),
            ));
        }
        let before = found.findings.len();
        meaning::name(document, kind, &mut found.findings);
        if let Some(schema) = schemas.get(kind) {
            structure(document, schema, &mut found.findings);
        }
        if found.findings.len() == before {
            meaning::check(document, kind, &mut found.findings);
        }
        if found
            .findings
            .iter()
            .skip(before)
            .all(|finding| finding.gravity == Gravity::Doubt)
        {
            good.push(document);
        }
    }
    world::check(documents, &good, picture, &mut found.findings)?;
    Ok(found)
}

fn schemas() -> anyhow::Result<BTreeMap<String, Value>> {
    let mut schemas = BTreeMap::new();
    for crd in landfall_crds::all() {
        let version = crd.spec.versions.first();
        let schema = version.and_then(|version| version.schema.as_ref());
        let schema = schema.map(|schema| &schema.open_api_v3_schema);
        schemas.insert(crd.spec.names.kind, serde_json::to_value(schema)?);
    }
    Ok(schemas)
}

/// The schema, and where that holds the rules of the CRD.
fn structure(document: &Document, schema: &Value, findings: &mut Vec<Finding>) {
    let problems = schema::problems(schema, &document.value);
    let refused = !problems.is_empty();
    findings.extend(
        problems
            .into_iter()
            .map(|problem| Finding::new(document, problem.field, problem.says)),
    );
    if refused {
        return;
    }
    if let Err(errors) = Validator::new().validate(schema, &document.value, None) {
        let errors = errors.into_vec().into_iter();
        findings
            .extend(errors.map(|error| Finding::new(document, error.field_path, error.message)));
    }
}

/// For people.
pub(crate) fn draw(found: &Findings) -> String {
    let mut out = String::new();
    for finding in &found.findings {
        out.push_str(&format!("{finding}\n"));
    }
    let count = |gravity: Gravity| {
        let of = found
            .findings
            .iter()
            .filter(|finding| finding.gravity == gravity);
        of.count()
    };
    let mut words = vec![match found.checked {
        1 => "1 object".to_owned(),
        many => format!("{many} objects"),
    }];
    words.push(match count(Gravity::Mistake) {
        0 => "no mistake".to_owned(),
        1 => "1 mistake".to_owned(),
        many => format!("{many} mistakes"),
    });
    match count(Gravity::Doubt) {
        0 => {}
        1 => words.push("1 doubt".to_owned()),
        many => words.push(format!("{many} doubts")),
    }
    if found.passed_over > 0 {
        words.push(format!("{} of other kinds passed over", found.passed_over));
    }
    out.push_str(&format!("{}\n", words.join(", ")));
    out
}
