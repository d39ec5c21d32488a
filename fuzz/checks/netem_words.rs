//! Any text is a model or an error on one line, in either dialect; what is a model is printed in
//! words, in a table and for tc so that it reads as the same.

use netem::{
    model::PairModel,
    words::{ModelTable, WordsError, to_tc},
};

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match text.parse::<PairModel>() {
        Ok(model) => {
            let words = model.to_string();
            assert_eq!(words.parse().as_ref(), Ok(&model), "{words}");
            let table = ModelTable::from(&model);
            assert_eq!(
                PairModel::try_from(&table).as_ref(),
                Ok(&model),
                "{table:?}"
            );
            if let Ok(words) = to_tc(&model) {
                assert_eq!(PairModel::from_tc(&words), Ok(model), "{words}");
            }
        }
        Err(error) => is_clear(text, &error),
    }
    match PairModel::from_tc(text) {
        Ok(model) => {
            let words = to_tc(&model).expect("what tc said can be said to it");
            assert_eq!(PairModel::from_tc(&words), Ok(model), "{words}");
        }
        Err(error) => is_clear(text, &error),
    }
}

fn is_clear(text: &str, error: &WordsError) {
    let line = error.to_string();
    assert!(!line.contains(char::is_control), "{line:?}");
    assert!(text.is_char_boundary(error.at), "{line} at {}", error.at);
}
