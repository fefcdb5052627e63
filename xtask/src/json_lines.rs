//! Tests only: checks every JSON line that xtask writes against docs/schema/xtask.json.

use std::collections::BTreeSet;

use schema::Schema;
use serde_json::Value;

/// Returns lines of every kind, each made by the code that writes it.
fn made() -> Vec<Value> {
    let events = crate::show::json::tests::lines();
    let events = events.lines().map(|line| serde_json::from_str(line).unwrap());
    events
        .chain(crate::report::tests::lines())
        .chain(crate::drill::outcome::tests::lines())
        .chain(crate::commands::doctor::tests::lines())
        .collect()
}

#[test]
fn a_line_of_every_kind_fits_its_schema() {
    let schema = Schema::read("xtask.json");
    let lines = made();
    lines.iter().for_each(|line| schema.expect(line));
    let made: BTreeSet<&str> = lines.iter().flat_map(|line| schema.kinds_of(line)).collect();
    assert_eq!(made, schema.kinds().into_iter().collect());
}

#[test]
fn what_lacks_adds_or_bends_a_field_does_not_fit() {
    let schema = Schema::read("xtask.json");
    let optional = ["warnings", "flow", "account", "failure", "evidence", "explained", "at_work", "interrupted"];
    let tried: usize = made().iter().map(|line| schema.expect_exactly(line, &optional)).sum();
    assert!(tried > 500, "{tried}");
}
