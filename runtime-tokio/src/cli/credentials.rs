//! Where the command line takes a user name and a password from. A password found by itself is only ever
//! sent to an address of this machine.
//!
//! The file `root-credentials`, which the first start writes, is two lines: `user NAME` and `password TEXT`.

use std::fmt;
use std::io;
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};

use steadfast_core::io::FileName;
use steadfast_core::types::Blob;

use crate::client::Credentials;
use crate::server::config::DEFAULT_DATA;

/// Longest credentials or password file that is read, in bytes.
const FILE_BYTES: u64 = 4096;

/// What the operator said about credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// `--user`, or the environment's.
    pub user: Option<String>,
    /// The environment's password.
    pub password: Option<String>,
    /// `--password-file`, or the environment's.
    pub password_file: Option<PathBuf>,
    /// `--data`.
    pub data: Option<PathBuf>,
}

impl Wishes {
    /// The credentials to use for these addresses; `None` if there are none.
    ///
    /// # Errors
    /// A file that was named and can't be used, or half of what is needed.
    pub fn find(&self, addresses: &[String]) -> Result<Option<Credentials>, CredentialsError> {
        match (&self.user, &self.password_file, &self.password) {
            (Some(user), Some(file), _) => {
                let password = read(file)?;
                let password = password.lines().next().unwrap_or_default();
                Ok(Some(Credentials { user: Blob::from(user.as_str()), password: password.to_owned() }))
            }
            (Some(user), None, Some(password)) => {
                Ok(Some(Credentials { user: Blob::from(user.as_str()), password: password.clone() }))
            }
            (Some(_), None, None) => Err(CredentialsError::NoPassword),
            (None, Some(_), _) | (None, None, Some(_)) => Err(CredentialsError::NoUser),
            (None, None, None) => self.of_data(addresses),
        }
    }

    fn of_data(&self, addresses: &[String]) -> Result<Option<Credentials>, CredentialsError> {
        if let Some(data) = &self.data {
            let file = data.join(FileName::RootCredentials.to_string());
            return parse(&read(&file)?).map(Some).ok_or(CredentialsError::Format { file });
        }
        let file = Path::new(DEFAULT_DATA).join(FileName::RootCredentials.to_string());
        if !file.exists() || !addresses.iter().all(|address| is_local(address)) {
            return Ok(None);
        }
        parse(&read(&file)?).map(Some).ok_or(CredentialsError::Format { file })
    }
}

/// Reads the text of a credentials file.
#[must_use]
pub fn parse(text: &str) -> Option<Credentials> {
    let mut lines = text.lines();
    let user = lines.next()?.strip_prefix("user ")?;
    let password = lines.next()?.strip_prefix("password ")?;
    Some(Credentials { user: Blob::from(user), password: password.to_owned() })
}

/// Whether an address leads nowhere but to this machine.
fn is_local(address: &str) -> bool {
    address.to_socket_addrs().is_ok_and(|found| {
        let found: Vec<_> = found.collect();
        !found.is_empty() && found.iter().all(|address| address.ip().is_loopback())
    })
}

fn read(file: &Path) -> Result<String, CredentialsError> {
    let failed = |error| CredentialsError::Read { file: file.to_owned(), error };
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(failed)?;
    io::Read::read_to_string(&mut io::Read::take(opened, FILE_BYTES), &mut text).map_err(failed)?;
    Ok(text)
}

/// Why there are no credentials.
#[derive(Debug)]
pub enum CredentialsError {
    /// A file can't be read.
    Read {
        /// Which.
        file: PathBuf,
        /// The operating system's words.
        error: io::Error,
    },
    /// A file is not what it should be.
    Format {
        /// Which.
        file: PathBuf,
    },
    /// A user without a password.
    NoPassword,
    /// A password without a user.
    NoUser,
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { file, error } => {
                write!(f, "can't read {}: {error}", file.display())?;
                match error.kind() {
                    io::ErrorKind::NotFound => f.write_str(
                        "; name the user with --user and a file with the password with --password-file",
                    ),
                    io::ErrorKind::PermissionDenied => {
                        f.write_str("; only the user that the server runs as may read it")
                    }
                    _ => Ok(()),
                }
            }
            Self::Format { file } => write!(
                f,
                "{} is no credentials file, which has two lines: \"user NAME\" and \"password TEXT\"",
                file.display()
            ),
            Self::NoPassword => f.write_str(
                "a user without a password: name a file with --password-file, or set STEADFAST_PASSWORD",
            ),
            Self::NoUser => {
                f.write_str("a password without a user: name one with --user, or set STEADFAST_USER")
            }
        }
    }
}

impl std::error::Error for CredentialsError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::scratch::Scratch;

    fn local() -> Vec<String> {
        vec!["127.0.0.1:7878".into()]
    }

    #[test]
    fn the_file_of_a_data_directory_is_two_lines() {
        let found = parse("user root\npassword s3 cret\n").expect("this is the format");
        assert_eq!((&*found.user, found.password.as_str()), (&b"root"[..], "s3 cret"));
        assert!(parse("root\ns3cret\n").is_none());
        assert!(parse("user root\n").is_none());
    }

    #[test]
    fn a_named_data_directory_is_used_and_missed() {
        let scratch = Scratch::new("credentials");
        let wishes = Wishes { data: Some(scratch.path().to_owned()), ..Wishes::default() };
        assert!(matches!(wishes.find(&local()), Err(CredentialsError::Read { .. })));
        std::fs::write(scratch.path().join("root-credentials"), "user root\npassword x\n").expect("writable");
        let found = wishes.find(&local()).expect("it can be read").expect("it is there");
        assert_eq!(found.password, "x");
    }

    #[test]
    fn a_user_needs_a_password_and_a_password_a_user() {
        let user = Wishes { user: Some("ann".into()), ..Wishes::default() };
        assert!(matches!(user.find(&local()), Err(CredentialsError::NoPassword)));
        let password = Wishes { password: Some("x".into()), ..Wishes::default() };
        assert!(matches!(password.find(&local()), Err(CredentialsError::NoUser)));
    }

    #[test]
    fn a_password_file_is_its_first_line() {
        let scratch = Scratch::new("credentials");
        let file = scratch.path().join("password");
        std::fs::write(&file, "two words\n").expect("writable");
        let wishes = Wishes { user: Some("ann".into()), password_file: Some(file), ..Wishes::default() };
        assert_eq!(wishes.find(&local()).expect("readable").expect("there").password, "two words");
    }

    #[test]
    fn only_loopback_is_local() {
        assert!(is_local("127.0.0.1:1") && is_local("[::1]:1"));
        assert!(!is_local("192.0.2.1:1") && !is_local("0.0.0.0:1") && !is_local("nonsense"));
    }
}
