//! Random sequences of C calls against a model of what the header promises.
//!
//! MINIDB_MODEL_OPS is the number of operations in memory, to which come a sixth
//! as many on files; MINIDB_MODEL_SEED is the first seed. A failure names its seed
//! and step; with that seed as the first, the same happens again at once.

mod driver;

use std::env;

use driver::{Choices, Input, Limits, Played, Seeded, play};

/// Operations of one seed.
const RUN: u64 = 50_000;

/// What a seed plays with: a few keys or many.
fn limits(seed: u64, steps: u64, files: bool) -> Limits {
    let entries = [20_000, 30, 300, 3_000][(seed % 4) as usize];
    Limits { steps, keys: 3 * entries, entries, huge: true, files, forget_a_delete: None }
}

fn setting(name: &str, default: u64) -> u64 {
    match env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")),
        Err(_) => default,
    }
}

fn play_seeds(total: u64, files: bool) {
    let (mut seed, mut done) = (setting("MINIDB_MODEL_SEED", 1), 0);
    while done < total {
        match play(Seeded::new(seed), limits(seed, RUN.min(total - done), files)) {
            Ok(Played { steps, entries }) => {
                done += steps;
                println!("seed {seed}: {done} operations by now, up to {entries} entries");
            }
            Err(what) => panic!("seed {seed}, {what}"),
        }
        seed = seed.wrapping_add(1);
    }
}

#[test]
fn random_calls_answer_as_the_model_does() {
    play_seeds(setting("MINIDB_MODEL_OPS", 300_000), false);
}

#[test]
fn random_calls_on_files_answer_as_the_model_does() {
    play_seeds(setting("MINIDB_MODEL_OPS", 300_000) / 6, true);
}

#[test]
fn calls_chosen_by_the_bytes_of_an_input_answer_as_the_model_does() {
    for seed in 0..200 {
        let mut choices = Seeded::new(seed);
        let bytes: Vec<u8> = (0..1_000).map(|_| choices.byte()).collect();
        if let Err(what) = play(Input::new(&bytes), Limits::of_input()) {
            panic!("the bytes from seed {seed}, {what}");
        }
    }
}

#[test]
fn a_planted_difference_is_found() {
    let limits = Limits { forget_a_delete: Some(500), ..limits(1, 2_000, false) };
    let what = play(Seeded::new(1), limits).expect_err("the model has forgotten a delete");
    println!("found: {what}");
    assert!(what.starts_with("step "), "{what}");
}
