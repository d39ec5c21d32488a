//! `netem verify` as a program sees it, on the backend that needs nothing and on such as are not
//! there.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::{env, fs, path::PathBuf, process};

use netem::verify::{
    self, Backend, Ground, GroundError, Options, Plan, Run, SimGround, Time, Verdict, VerifyError,
};

/// A file that no other test has.
fn json_file(name: &str) -> PathBuf {
    env::temp_dir().join(format!("netem-verify-{name}-{}.json", process::id()))
}

#[test]
fn sim_passes_every_test_and_says_so_in_a_table_and_in_json() {
    let json = json_file("sim");
    let options = Options {
        json: Some(&json),
        ..Options::default()
    };
    let mut grounds: [Box<dyn Ground>; 1] = [Box::new(SimGround)];
    let (mut table, mut progress) = (Vec::new(), Vec::new());
    let verdict = verify::run(&mut grounds, &options, &mut table, &mut progress).unwrap();
    let table = String::from_utf8(table).unwrap();
    println!("{}{table}", String::from_utf8_lossy(&progress));
    assert_eq!(verdict, Verdict::Pass);
    assert!(table.lines().all(|line| line.chars().count() <= 80));

    let rows: serde_json::Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    fs::remove_file(&json).unwrap();
    let rows = rows.as_array().unwrap();
    assert!(rows.len() > 30);
    for row in rows {
        let keys: Vec<&str> = row
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let mut expected = ["backend", "model", "test", "asked", "measured", "verdict"];
        expected.sort_unstable();
        assert_eq!(keys, expected);
        assert_eq!(
            (&row["backend"], &row["verdict"]),
            (&"sim".into(), &"pass".into())
        );
    }
}

/// A backend that gives no run.
struct NoGround(GroundError);

impl Ground for NoGround {
    fn backend(&self) -> Backend {
        Backend::Lab
    }

    fn time(&self) -> Time {
        Time::Real
    }

    fn run(&mut self, _: &Plan) -> Result<Run, GroundError> {
        Err(self.0.clone())
    }
}

fn unavailable() -> GroundError {
    GroundError::Unavailable {
        reason: String::from("the lab needs root"),
    }
}

/// The verdict on a backend that gives no run, its table, and what was said meanwhile.
fn verify_without(
    error: GroundError,
    options: &Options<'_>,
) -> Result<(Verdict, String, String), VerifyError> {
    let mut grounds: [Box<dyn Ground>; 1] = [Box::new(NoGround(error))];
    let (mut table, mut progress) = (Vec::new(), Vec::new());
    let verdict = verify::run(&mut grounds, options, &mut table, &mut progress)?;
    let [table, progress] = [table, progress].map(|text| String::from_utf8(text).unwrap());
    Ok((verdict, table, progress))
}

#[test]
fn a_backend_that_was_named_and_is_not_there_is_an_error_with_its_reason() {
    let error = verify_without(unavailable(), &Options::default()).unwrap_err();
    assert_eq!(error.to_string(), "lab: the lab needs root");
}

#[test]
fn a_backend_that_nobody_named_is_left_out_where_it_is_not_there() {
    let options = Options {
        skip_unavailable: true,
        ..Options::default()
    };
    let (verdict, table, progress) = verify_without(unavailable(), &options).unwrap();
    // Nothing was measured.
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(!table.contains("lab"), "{table}");
    assert!(
        progress.contains("lab: left out: the lab needs root"),
        "{progress}"
    );

    let failed = GroundError::Failed {
        reason: String::from("it burns"),
    };
    let (verdict, table, _) = verify_without(failed, &options).unwrap();
    assert_eq!(verdict, Verdict::Fail);
    assert!(table.contains("it burns"), "{table}");
}

#[test]
fn a_json_file_that_cannot_be_written_is_told_before_anything_is_measured() {
    let json = json_file("dir").join("nowhere");
    let options = Options {
        json: Some(&json),
        ..Options::default()
    };
    let mut grounds: [Box<dyn Ground>; 1] = [Box::new(NoGround(unavailable()))];
    let mut progress = Vec::new();
    let error = verify::run(&mut grounds, &options, &mut Vec::new(), &mut progress).unwrap_err();
    assert!(matches!(error, VerifyError::Json { .. }), "{error}");
    assert!(error.to_string().contains("nowhere"), "{error}");
    assert!(progress.is_empty());
}

#[test]
fn backends_are_known_by_their_names_and_others_are_refused_with_a_list() {
    for backend in Backend::ALL {
        assert_eq!(backend.to_string().parse(), Ok(backend));
    }
    let error = "tc".parse::<Backend>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "no backend is called \"tc\": there are sim, proxy and lab"
    );
}
