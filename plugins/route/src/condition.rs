//! What has to hold of a place in the value.

use std::cmp::Ordering;

use parts::config::Fields;
use parts::json::{self, Kind, Path, RawValue};
use parts::number::Number;
use serde_json::Value;

/// A place, and all that must hold there.
#[derive(Debug, PartialEq, Eq)]
pub struct Condition {
    at: Path,
    tests: Vec<Test>,
}

#[derive(Debug, PartialEq, Eq)]
enum Test {
    OneOf(Vec<Scalar>),
    Exists(bool),
    Compares(&'static [Ordering], Number),
}

/// What can be compared: numbers by what they are, and not by how they are written.
#[derive(Debug, PartialEq, Eq)]
enum Scalar {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
}

const COMPARISONS: [(&str, &[Ordering]); 4] = [
    (">", &[Ordering::Greater]),
    (">=", &[Ordering::Greater, Ordering::Equal]),
    ("<", &[Ordering::Less]),
    ("<=", &[Ordering::Less, Ordering::Equal]),
];

/// Longer lists are data and belong into a rule with state.
const ONE_OF_MAX: usize = 256;

impl Condition {
    /// Reads `{"at":"/pointer", comparison...}`.
    pub fn parse(said: Value) -> Result<Condition, String> {
        let Value::Object(said) = said else {
            return Err(
                r#"write "when" as an object, as {"at":"/status","equals":"cancelled"}"#.into()
            );
        };
        let known = ["at", "equals", "one_of", "exists", ">", ">=", "<", "<="];
        let fields = Fields::of(said, &known)?;
        let at = fields.get("at").and_then(Value::as_str).and_then(Path::parse).ok_or(
            r#""at" must be a JSON pointer into the value that begins with "/", as "/status""#,
        )?;
        let mut tests = Vec::new();
        if let Some(field) = fields.get("equals") {
            let scalar = Scalar::of_config(field)
                .ok_or(r#""equals" must be a text, a number, true, false or null"#)?;
            tests.push(Test::OneOf(vec![scalar]));
        }
        if let Some(field) = fields.get("one_of") {
            let list = field.as_array().filter(|list| list.len() <= ONE_OF_MAX);
            let scalars = list.and_then(|list| list.iter().map(Scalar::of_config).collect());
            tests.push(Test::OneOf(scalars.ok_or_else(|| {
                format!(r#""one_of" must be a list of up to {ONE_OF_MAX} texts, numbers, true, false or null"#)
            })?));
        }
        if let Some(field) = fields.get("exists") {
            tests.push(Test::Exists(field.as_bool().ok_or(r#""exists" must be true or false"#)?));
        }
        for (sign, orderings) in COMPARISONS {
            if let Some(field) = fields.get(sign) {
                let Some(Scalar::Number(bound)) = Scalar::of_config(field) else {
                    return Err(format!(r#""{sign}" must be a number"#));
                };
                tests.push(Test::Compares(orderings, bound));
            }
        }
        if tests.is_empty() {
            return Err(format!(
                r#"there is no comparison for {at}; write "equals", "one_of", "exists", ">", ">=", "<" or "<=""#
            ));
        }
        Ok(Condition { at, tests })
    }

    /// Whether it holds of a value. Nothing is at no place: only `"exists":false` holds of it.
    pub fn holds(&self, root: &RawValue) -> bool {
        let found = self.at.find(root);
        let scalar = found.and_then(Scalar::of);
        self.tests.iter().all(|test| match (test, &scalar) {
            (Test::Exists(wanted), _) => found.is_some() == *wanted,
            (Test::OneOf(list), Some(scalar)) => list.contains(scalar),
            (Test::Compares(orderings, bound), Some(Scalar::Number(number))) => {
                orderings.contains(&number.cmp(bound))
            }
            (Test::OneOf(_) | Test::Compares(..), _) => false,
        })
    }
}

impl Scalar {
    fn of(piece: &RawValue) -> Option<Scalar> {
        match Kind::of(piece) {
            Kind::Null => Some(Scalar::Null),
            Kind::Bool => Some(Scalar::Bool(piece.get() == "true")),
            Kind::Number => Number::parse(piece.get()).map(Scalar::Number),
            Kind::String => json::text(piece).map(Scalar::Text),
            Kind::Array | Kind::Object => None,
        }
    }

    fn of_config(value: &Value) -> Option<Scalar> {
        match value {
            Value::Null => Some(Scalar::Null),
            Value::Bool(flag) => Some(Scalar::Bool(*flag)),
            Value::Number(number) => Number::parse(&number.to_string()).map(Scalar::Number),
            Value::String(text) => Some(Scalar::Text(text.clone())),
            Value::Array(_) | Value::Object(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_holds_of_what_it_says() {
        let value = br#"{"s":"a\u0062","n":10.0,"big":18446744073709551617,"no":null,"yes":true,"list":[1]}"#;
        let root = json::parse(value).expect("JSON");
        for (condition, holds) in [
            (r#"{"at":"/s","equals":"ab"}"#, true),
            (r#"{"at":"/s","equals":"abc"}"#, false),
            (r#"{"at":"/n","equals":10}"#, true),
            (r#"{"at":"/n","equals":"10"}"#, false),
            (r#"{"at":"/no","equals":null}"#, true),
            (r#"{"at":"/none","equals":null}"#, false),
            (r#"{"at":"/yes","equals":true}"#, true),
            (r#"{"at":"/s","one_of":["x","ab"]}"#, true),
            (r#"{"at":"/s","one_of":[]}"#, false),
            (r#"{"at":"/no","exists":true}"#, true),
            (r#"{"at":"/none","exists":true}"#, false),
            (r#"{"at":"/none","exists":false}"#, true),
            (r#"{"at":"/list/0","exists":true}"#, true),
            (r#"{"at":"/list","equals":1}"#, false),
            (r#"{"at":"/n",">=":10}"#, true),
            (r#"{"at":"/n",">":10}"#, false),
            (r#"{"at":"/n",">":9.99,"<":10.01}"#, true),
            (r#"{"at":"/n","<=":9}"#, false),
            (r#"{"at":"/big",">":18446744073709551615}"#, true),
            (r#"{"at":"/s",">":0}"#, false),
            (r#"{"at":"/none","<":0}"#, false),
        ] {
            let parsed = Condition::parse(serde_json::from_str(condition).expect(condition));
            assert_eq!(parsed.expect(condition).holds(root), holds, "{condition}");
        }
    }
}
