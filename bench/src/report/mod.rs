//! Rows, and what is made of them: a file for programs, a table and plots for people, a comparison.

mod folder;
mod compare;
mod table;
mod results;
mod plot;
mod row;

pub use compare::compare;
pub use folder::write;
pub use plot::{Axis, Plot, Shape};
pub use results::{Heading, Results};
pub use row::{Metric, Row};
