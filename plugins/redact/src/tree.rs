//! All paths of a config as one tree, and the places in a value that they lead to.
//!
//! A value is changed where a path leads and nowhere else: what is not named keeps its bytes, with
//! its blanks, its order of members and the digits of its numbers.

use std::collections::BTreeMap;
use std::ops::Range;

use parts::json::{self, Entry, Kind, RawValue};

use crate::action::{Action, Secret};

/// A step of the paths: what is done here, and where they go on.
#[derive(Debug, Default)]
pub struct Tree {
    action: Option<Action>,
    named: BTreeMap<String, Tree>,
    /// Behind `*`: every member and every element.
    every: Option<Box<Tree>>,
}

/// The step of a path that leads everywhere.
const EVERY: &str = "*";

/// Bytes of the value, and what takes their place.
#[derive(Debug, PartialEq, Eq)]
pub struct Edit {
    pub range: Range<usize>,
    pub new: String,
}

impl Tree {
    /// Adds a path. Of two actions at one place the stronger stands.
    pub fn add(&mut self, names: &[String], action: Action) {
        match names {
            [] => self.action = self.action.take().max(Some(action)),
            [first, rest @ ..] if first == EVERY => {
                self.every.get_or_insert_default().add(rest, action)
            }
            [first, rest @ ..] => self.named.entry(first.clone()).or_default().add(rest, action),
        }
    }

    /// Every action in it.
    pub fn actions(&self) -> Box<dyn Iterator<Item = &Action> + '_> {
        let below = self.named.values().chain(self.every.as_deref()).flat_map(Tree::actions);
        Box::new(self.action.iter().chain(below))
    }

    /// What to change in `value`, whose whole JSON is `root`; in order, nothing overlapping.
    pub fn edits(&self, root: &RawValue, value: &[u8], secret: Option<&Secret>) -> Vec<Edit> {
        let mut walk = Walk { value, secret, edits: Vec::new() };
        walk.descend(root, &[self]);
        walk.edits
    }

    fn leads_on(&self) -> bool {
        !self.named.is_empty() || self.every.is_some()
    }
}

struct Walk<'a> {
    value: &'a [u8],
    secret: Option<&'a Secret>,
    edits: Vec<Edit>,
}

/// A member or an element: where it lies with its name, and its value.
struct Child<'a> {
    range: Range<usize>,
    value: &'a RawValue,
}

impl Walk<'_> {
    /// Goes into an object or array, at all places of the tree that lead here. No deeper than the
    /// longest path.
    fn descend(&mut self, piece: &RawValue, places: &[&Tree]) {
        match Kind::of(piece) {
            Kind::Object => {
                let members = json::members(piece);
                let children = members.iter().map(|member| {
                    let name = json::range(member.name, self.value);
                    let value = json::range(member.value, self.value);
                    let child = Child { range: name.start..value.end, value: member.value };
                    (child, steps(places, name_of(member).as_deref()))
                });
                self.over(children.collect());
            }
            Kind::Array => {
                let elements = json::elements(piece);
                let children = elements.iter().enumerate().map(|(index, element)| {
                    let child = Child { range: json::range(element, self.value), value: element };
                    (child, steps(places, Some(&index.to_string())))
                });
                self.over(children.collect());
            }
            _ => {}
        }
    }

    fn over(&mut self, children: Vec<(Child<'_>, Vec<&Tree>)>) {
        // What goes away, with the comma behind it; at the end, with the one before it.
        let mut kept_end = None;
        let mut gone: Option<Range<usize>> = None;
        for (child, places) in children {
            if let Some(range) = &mut gone {
                range.end = child.range.start;
            }
            let action = places.iter().filter_map(|place| place.action.as_ref()).max();
            if action == Some(&Action::Remove) {
                let start = gone.take().map_or(child.range.start, |range| range.start);
                gone = Some(start..child.range.end);
                continue;
            }
            if let Some(range) = gone.take() {
                self.edits.push(Edit { range, new: String::new() });
            }
            kept_end = Some(child.range.end);
            match action.and_then(|action| action.on_json(child.value, self.secret)) {
                Some(new) => {
                    let range = json::range(child.value, self.value);
                    self.edits.push(Edit { range, new });
                }
                None => {
                    let on: Vec<&Tree> =
                        places.into_iter().filter(|place| place.leads_on()).collect();
                    if !on.is_empty() {
                        self.descend(child.value, &on);
                    }
                }
            }
        }
        if let Some(range) = gone {
            let range = kept_end.unwrap_or(range.start)..range.end;
            self.edits.push(Edit { range, new: String::new() });
        }
    }
}

fn steps<'a>(places: &[&'a Tree], name: Option<&str>) -> Vec<&'a Tree> {
    let step = |place: &&'a Tree| {
        let named = name.and_then(|name| place.named.get(name));
        named.into_iter().chain(place.every.as_deref())
    };
    places.iter().flat_map(step).collect()
}

/// The name as paths write it. Half a surrogate pair is in no path, and `*` still finds it.
fn name_of(member: &Entry<'_>) -> Option<String> {
    member.plain_name().map(str::to_owned).or_else(|| json::text(member.name))
}

/// The value with its edits.
pub fn spliced(value: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut new = Vec::with_capacity(value.len());
    let mut at = 0;
    for edit in edits {
        new.extend_from_slice(&value[at..edit.range.start]);
        new.extend_from_slice(edit.new.as_bytes());
        at = edit.range.end;
    }
    new.extend_from_slice(&value[at..]);
    new
}
