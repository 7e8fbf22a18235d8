//! Damaged input of each reader.

use std::process::Command;

use crate::harness::binary;
use crate::tests;

tests!(no_damaged_input_is_believed; long a_million_damaged_inputs_are_not_either);

fn fuzz(flags: &[&str]) {
    let output = Command::new(binary("pipsqueak-fuzz")).args(flags).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn no_damaged_input_is_believed() {
    fuzz(&["--inputs", "1000"]);
}

fn a_million_damaged_inputs_are_not_either() {
    fuzz(&["--inputs", "50000", "--seed", "2"]);
    fuzz(&["--inputs", "1000000", "--seed", "3", "--target", "record"]);
}
