//! Downloading MNIST, with checksums.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

use super::error::DataError;
use crate::storage::write_atomic;

/// Where MNIST is downloaded from, one after the other until a file arrives whole.
pub const MNIST_MIRRORS: [&str; 2] = [
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
];

/// The largest download that is accepted (the largest file has 9.9 MB).
const MAX_DOWNLOAD: u64 = 32 << 20;
const REMEDY: &str = "check the network, name another mirror with --mirror URL, or copy the four files of MNIST into the folder yourself";

/// A file of MNIST. The checksum is of the unpacked content: gzip's own bytes differ from mirror to
/// mirror.
struct Published {
    name: &'static str,
    unpacked: u64,
    sha256: &'static str,
}

const MNIST: [Published; 4] = [
    Published {
        name: "train-images-idx3-ubyte.gz",
        unpacked: 47_040_016,
        sha256: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    },
    Published {
        name: "train-labels-idx1-ubyte.gz",
        unpacked: 60_008,
        sha256: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    },
    Published {
        name: "t10k-images-idx3-ubyte.gz",
        unpacked: 7_840_016,
        sha256: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    },
    Published {
        name: "t10k-labels-idx1-ubyte.gz",
        unpacked: 10_008,
        sha256: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
];

/// What [`fetch_mnist`] tells as it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchEvent {
    /// A file is there already, with the right content.
    Present {
        /// Its path.
        path: PathBuf,
    },
    /// A download begins.
    Started {
        /// Its address.
        url: String,
    },
    /// A download failed; the next mirror is tried.
    Failed {
        /// Its address.
        url: String,
        /// Why.
        reason: String,
    },
    /// A file arrived, was checked and has its name.
    Finished {
        /// Its path.
        path: PathBuf,
        /// Its length in bytes.
        bytes: u64,
    },
}

/// Downloads MNIST's four gzipped idx files into a folder, from `mirror` (a base address) or else
/// from [`MNIST_MIRRORS`].
///
/// Files that are there with the right content stay. A file appears under its name only after its
/// unpacked content has the published SHA-256. The published split is not part of the download:
/// training then splits by its seed.
///
/// # Errors
/// A file could not be downloaded whole and right from any mirror (the message names each address
/// and reason), or could not be written.
pub fn fetch_mnist(
    output: &Path,
    mirror: Option<&str>,
    mut report: impl FnMut(FetchEvent),
) -> Result<(), DataError> {
    let mirrors: Vec<&str> = mirror.map_or(MNIST_MIRRORS.to_vec(), |mirror| vec![mirror]);
    MNIST
        .iter()
        .try_for_each(|file| fetch(file, output, &mirrors, &mut report))
}

fn fetch(
    file: &Published,
    output: &Path,
    mirrors: &[&str],
    report: &mut impl FnMut(FetchEvent),
) -> Result<(), DataError> {
    let path = output.join(file.name);
    // What is there but wrong is replaced.
    if std::fs::read(&path).is_ok_and(|bytes| check(&bytes, file).is_ok()) {
        report(FetchEvent::Present { path });
        return Ok(());
    }
    let mut reasons = Vec::new();
    for mirror in mirrors {
        let url = format!("{}/{}", mirror.trim_end_matches('/'), file.name);
        report(FetchEvent::Started { url: url.clone() });
        let downloaded = download(&url).and_then(|bytes| check(&bytes, file).map(|()| bytes));
        match downloaded {
            Ok(bytes) => {
                write_atomic(&path, &bytes)?;
                report(FetchEvent::Finished {
                    path,
                    bytes: bytes.len() as u64,
                });
                return Ok(());
            }
            Err(reason) => {
                reasons.push(format!("{url}: {reason}"));
                report(FetchEvent::Failed { url, reason });
            }
        }
    }
    Err(DataError::Download {
        file: file.name.to_string(),
        reason: reasons.join("; "),
        remedy: REMEDY.to_string(),
    })
}

fn download(url: &str) -> Result<Vec<u8>, String> {
    let mut config = ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .timeout_recv_body(Some(Duration::from_secs(600)));
    // A mirror on this machine is not reached through a proxy.
    let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
    if local.iter().any(|prefix| url.starts_with(prefix)) {
        config = config.proxy(None);
    }
    let agent = ureq::Agent::new_with_config(config.build());
    let mut response = agent.get(url).call().map_err(|error| match error {
        ureq::Error::StatusCode(status) => format!("the server answered {status}"),
        other => other.to_string(),
    })?;
    let length = response
        .headers()
        .get("content-length")
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > MAX_DOWNLOAD) {
        return Err(format!("more than {MAX_DOWNLOAD} bytes are offered"));
    }
    let mut bytes = Vec::new();
    response
        .body_mut()
        .with_config()
        .limit(MAX_DOWNLOAD)
        .reader()
        .read_to_end(&mut bytes)
        .map_err(|error| format!("broken off after {} bytes ({error})", bytes.len()))?;
    match length {
        Some(length) if length != bytes.len() as u64 => Err(format!(
            "broken off after {} of {length} bytes",
            bytes.len()
        )),
        _ => Ok(bytes),
    }
}

/// Whether a gzipped file unpacks to the published content.
fn check(bytes: &[u8], file: &Published) -> Result<(), String> {
    let mut unpacked = GzDecoder::new(bytes).take(file.unpacked + 1);
    let (mut hash, mut length) = (Sha256::new(), 0u64);
    let mut buffer = vec![0u8; 1 << 16];
    loop {
        match unpacked.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                hash.update(&buffer[..count]);
                length += count as u64;
            }
            Err(error) => return Err(format!("cannot be unpacked ({error})")),
        }
    }
    if length != file.unpacked {
        return Err(format!(
            "unpacks to {}{length} bytes instead of {}",
            if length > file.unpacked {
                "at least "
            } else {
                ""
            },
            file.unpacked
        ));
    }
    let found: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if found == file.sha256 {
        Ok(())
    } else {
        Err(format!(
            "wrong checksum: SHA-256 is {found} instead of {}",
            file.sha256
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::mnist::tests::gzip;
    use super::super::tests::shared_data;
    use std::io::Write;

    use super::*;

    /// Answers each request for a path with what `answer` makes of it, and counts requests. The
    /// thread ends with the test program.
    fn serve(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let request = lines.next().unwrap().unwrap();
                while !lines.next().unwrap().unwrap().is_empty() {}
                counted.fetch_add(1, Ordering::SeqCst);
                let path = request.split(' ').nth(1).unwrap().to_string();
                // The client may have gone already.
                let _ = stream.write_all(&answer(&path));
            }
        });
        (url, requests)
    }

    fn ok(body: &[u8]) -> Vec<u8> {
        let mut answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        )
        .into_bytes();
        answer.extend(body);
        answer
    }

    const HELLO: Published = Published {
        name: "hello.gz",
        unpacked: 5,
        sha256: "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
    };

    fn fetch_hello(folder: &Path, mirrors: &[&str]) -> (Result<(), String>, Vec<FetchEvent>) {
        let mut events = Vec::new();
        let result = fetch(&HELLO, folder, mirrors, &mut |event| events.push(event));
        (result.map_err(|error| error.to_string()), events)
    }

    #[test]
    fn a_file_arrives_once_and_is_kept() {
        let body = gzip(b"hello");
        let answer = ok(&body);
        let (url, requests) = serve(move |path| {
            assert_eq!(path, "/sets/mnist/hello.gz");
            answer.clone()
        });
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("new");
        let mirror = format!("{url}/sets/mnist/");
        let (result, events) = fetch_hello(&output, &[&mirror]);
        result.unwrap();
        assert!(
            matches!(&events[1], FetchEvent::Finished { bytes, .. } if *bytes == body.len() as u64)
        );
        assert_eq!(std::fs::read(output.join("hello.gz")).unwrap(), body);

        let (result, events) = fetch_hello(&output, &[&mirror]);
        result.unwrap();
        assert!(matches!(events[..], [FetchEvent::Present { .. }]));
        assert_eq!(requests.load(Ordering::SeqCst), 1);

        // What is there but wrong is fetched anew; nothing else is left behind.
        std::fs::write(output.join("hello.gz"), gzip(b"hallo")).unwrap();
        fetch_hello(&output, &[&mirror]).0.unwrap();
        assert_eq!(std::fs::read(output.join("hello.gz")).unwrap(), body);
        assert_eq!(std::fs::read_dir(&output).unwrap().count(), 1);
    }

    #[test]
    fn wrong_answers_are_refused_with_address_and_reason_and_leave_no_file() {
        let mut truncated = ok(&gzip(b"hello"));
        truncated.truncate(truncated.len() - 3);
        let cut = {
            let body = gzip(b"hello");
            ok(&body[..body.len() - 3])
        };
        let huge =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1u64 << 40).into_bytes();
        // No length, and never an end within the limit.
        let mut endless = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
        endless.resize(endless.len() + MAX_DOWNLOAD as usize + 1, b'x');
        let cases: Vec<(Vec<u8>, &str)> = vec![
            (ok(&gzip(b"hallo")), "wrong checksum"),
            (ok(&gzip(b"hello, world")), "at least 6 bytes instead of 5"),
            (ok(&gzip(b"hell")), "unpacks to 4 bytes"),
            (ok(b"<html>sorry</html>"), "cannot be unpacked"),
            (cut, "cannot be unpacked"),
            (truncated, "broken off"),
            (huge, "are offered"),
            (endless, "broken off"),
            (
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    .to_vec(),
                "answered 404",
            ),
            (b"SSH-2.0-OpenSSH\r\n\r\n".to_vec(), "http://127.0.0.1"),
        ];
        for (answer, needle) in cases {
            let (url, _) = serve(move |_| answer.clone());
            let folder = tempfile::tempdir().unwrap();
            let (result, _) = fetch_hello(folder.path(), &[&url]);
            let error = result.unwrap_err();
            assert!(error.contains(needle), "{error:?} lacks {needle:?}");
            assert!(error.contains(&format!("{url}/hello.gz")), "{error}");
            assert!(error.contains("--mirror"), "{error}");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn the_next_mirror_is_tried() {
        // A port that nobody listens on any more.
        let gone = TcpListener::bind("127.0.0.1:0").unwrap();
        let nobody = format!("http://{}/", gone.local_addr().unwrap());
        drop(gone);
        let (good, _) = serve(|_| ok(&gzip(b"hello")));
        let folder = tempfile::tempdir().unwrap();
        let (result, events) = fetch_hello(folder.path(), &[&nobody, &good]);
        result.unwrap();
        assert!(matches!(&events[1], FetchEvent::Failed { url, .. } if url.starts_with(&nobody)));
        let (result, _) = fetch_hello(&folder.path().join("b"), &[&nobody, &nobody]);
        assert_eq!(result.unwrap_err().matches(&nobody).count(), 2);
    }

    #[test]
    fn the_real_files_arrive_from_a_local_server() {
        let Some(data) = shared_data() else { return };
        let (url, requests) = serve(move |path| {
            let name = path.trim_start_matches('/');
            ok(&std::fs::read(data.join("mnist").join(name)).unwrap())
        });
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("mnist");
        fetch_mnist(&output, Some(&url), |_| {}).unwrap();
        fetch_mnist(&output, Some(&url), |_| {}).unwrap();
        assert_eq!(requests.load(Ordering::SeqCst), 4);
        let config = super::super::DataConfig::Mnist(super::super::MnistConfig::default());
        let splits = config.load(Some(folder.path()), 31).unwrap();
        assert_eq!(
            (splits.train.len(), splits.validation.len()),
            (55_000, 5000)
        );
        assert!(splits.description.contains("random split of seed 31"));
    }
}
