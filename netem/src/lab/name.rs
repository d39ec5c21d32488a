//! Names of labs and regions.

use std::fmt;

/// The name of a lab.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LabName(String);

/// The name of a region within its lab.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RegionName(String);

/// Why a name is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It has a byte that is not allowed.
    #[error("the name {name:?} has {found:?}, allowed are a-z, 0-9 and -")]
    BadCharacter {
        /// The name.
        name: String,
        /// The first character that is not allowed.
        found: char,
    },
    /// It is empty.
    #[error("the name is empty")]
    Empty,
    /// It would be taken for an option.
    #[error("the name {name:?} begins with -")]
    LeadingHyphen {
        /// The name.
        name: String,
    },
    /// It is too long.
    #[error("the name {name:?} is {} bytes, limit is {MAX_NAME_BYTES}", name.len())]
    TooLong {
        /// The name.
        name: String,
    },
}

impl LabName {
    /// Takes 1..=[`MAX_NAME_BYTES`] of `a-z`, `0-9` and `-`, not beginning with `-`.
    ///
    /// # Errors
    /// [`NameError`] says which rule it breaks.
    pub fn try_new(name: &str) -> Result<Self, NameError> {
        check(name)?;
        Ok(Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of a region's namespace as `ip netns` has it.
    ///
    /// Hyphens make two pairs meet in one name (`a`, `b-c` and `a-b`, `c`). The second lab is
    /// then refused as by any other owner of the name.
    pub fn namespace(&self, region: &RegionName) -> String {
        format!("netem-{self}-{region}")
    }
}

impl fmt::Display for LabName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl RegionName {
    /// As [`LabName::try_new`].
    ///
    /// # Errors
    /// As [`LabName::try_new`].
    pub fn try_new(name: &str) -> Result<Self, NameError> {
        check(name)?;
        Ok(Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check(name: &str) -> Result<(), NameError> {
    let named = || name.to_owned();
    let is_allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-');
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some(found) = name.chars().find(|&c| !is_allowed(c)) {
        return Err(NameError::BadCharacter {
            name: named(),
            found,
        });
    }
    if name.starts_with('-') {
        return Err(NameError::LeadingHyphen { name: named() });
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(NameError::TooLong { name: named() });
    }
    Ok(())
}

/// Longest name of a lab or region, that of a DNS label. With the prefix a namespace then has at
/// most 133 bytes, far from the 255 that a file name may have.
pub const MAX_NAME_BYTES: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_to_63_lower_case_letters_digits_and_inner_hyphens() {
        for good in ["a", "eu-west-1", "0", "a-", &"x".repeat(63)] {
            assert_eq!(RegionName::try_new(good).unwrap().as_str(), good);
        }
        assert_eq!(LabName::try_new("").unwrap_err(), NameError::Empty);
        for (bad, found) in [
            ("a/b", '/'),
            ("..", '.'),
            ("A", 'A'),
            ("é", 'é'),
            ("a\0", '\0'),
        ] {
            let error = LabName::try_new(bad).unwrap_err();
            assert!(
                matches!(error, NameError::BadCharacter { found: got, .. } if got == found),
                "{bad:?}"
            );
        }
        let hyphen = LabName::try_new("-a").unwrap_err();
        assert_eq!(hyphen.to_string(), "the name \"-a\" begins with -");
        let long = LabName::try_new(&"x".repeat(64)).unwrap_err();
        assert!(long.to_string().ends_with("is 64 bytes, limit is 63"));
    }

    #[test]
    fn the_longest_namespace_fits_in_a_file_name() {
        let longest = "x".repeat(MAX_NAME_BYTES);
        let lab = LabName::try_new(&longest).unwrap();
        let region = RegionName::try_new(&longest).unwrap();
        assert!(lab.namespace(&region).len() <= 255);
    }
}
