//! GGUF files: metadata, and weights as `f32`.
//!
//! [`Gguf::open`] reads the header alone and checks that every tensor it announces lies inside the file, so that a
//! download that broke off is told at once; [`Gguf::tensor`] then reads and dequantises one tensor at a time.

use crate::ModelError;
use candle_core::quantized::gguf_file::{Content, TensorInfo, Value};
use candle_core::{Device, Tensor};
use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

/// An open GGUF file of the `llama` family.
pub struct Gguf {
    path: String,
    reader: BufReader<File>,
    content: Content,
}

impl fmt::Debug for Gguf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gguf").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Gguf {
    /// Opens the file at `path` and checks its header.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is not GGUF, ends before its data do, or holds a model of another family.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let name = path.display().to_string();
        let io = |source| ModelError::Io { path: name.clone(), source };
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut reader = BufReader::new(file);
        let mut magic = Vec::new();
        reader.by_ref().take(4).read_to_end(&mut magic).map_err(io)?;
        if magic != b"GGUF" {
            return Err(ModelError::NotGguf { path: name });
        }
        reader.rewind().map_err(io)?;
        let content = Content::read(&mut reader).map_err(|error| damaged(&name, error.to_string()))?;
        for (tensor, info) in &content.tensor_infos {
            if !fits(info, content.tensor_data_offset, length) {
                let reason = format!("the tensor `{tensor}` reaches past the end of its {length} bytes");
                return Err(damaged(&name, reason));
            }
        }
        let gguf = Self { path: name, reader, content };
        match gguf.text("general.architecture")? {
            "llama" => Ok(gguf),
            other => Err(ModelError::Architecture { found: other.to_owned() }),
        }
    }

    /// Whether the metadata hold `key`.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.content.metadata.contains_key(key)
    }

    /// A whole number of the metadata.
    ///
    /// # Errors
    ///
    /// When the key is missing, or its value is not a whole number that fits.
    pub fn count(&self, key: &str) -> Result<usize, ModelError> {
        let value = match self.value(key)? {
            Value::U8(n) => Some(u64::from(*n)),
            Value::U16(n) => Some(u64::from(*n)),
            Value::U32(n) => Some(u64::from(*n)),
            Value::U64(n) => Some(*n),
            Value::I8(n) => u64::try_from(*n).ok(),
            Value::I16(n) => u64::try_from(*n).ok(),
            Value::I32(n) => u64::try_from(*n).ok(),
            Value::I64(n) => u64::try_from(*n).ok(),
            _ => None,
        };
        let value = value.and_then(|n| usize::try_from(n).ok());
        value.ok_or_else(|| wrong_type(key, "a whole number"))
    }

    /// A floating-point number of the metadata.
    ///
    /// # Errors
    ///
    /// When the key is missing or holds something else.
    pub fn float(&self, key: &str) -> Result<f64, ModelError> {
        match self.value(key)? {
            Value::F32(x) => Ok(f64::from(*x)),
            Value::F64(x) => Ok(*x),
            _ => Err(wrong_type(key, "a floating-point number")),
        }
    }

    /// A text of the metadata.
    ///
    /// # Errors
    ///
    /// When the key is missing or holds something else.
    pub fn text(&self, key: &str) -> Result<&str, ModelError> {
        match self.value(key)? {
            Value::String(text) => Ok(text),
            _ => Err(wrong_type(key, "a text")),
        }
    }

    /// A list of texts of the metadata.
    ///
    /// # Errors
    ///
    /// When the key is missing or holds something else.
    pub fn texts(&self, key: &str) -> Result<Vec<&str>, ModelError> {
        let text = |value| match value {
            &Value::String(ref text) => Ok(text.as_str()),
            _ => Err(wrong_type(key, "a list of texts")),
        };
        self.list(key)?.iter().map(text).collect()
    }

    /// A list of small whole numbers of the metadata.
    ///
    /// # Errors
    ///
    /// When the key is missing or holds something else.
    pub fn integers(&self, key: &str) -> Result<Vec<i32>, ModelError> {
        let integer = |value: &Value| match value {
            Value::I32(n) => Ok(*n),
            Value::U32(n) => i32::try_from(*n).map_err(|_| wrong_type(key, "a list of small whole numbers")),
            _ => Err(wrong_type(key, "a list of small whole numbers")),
        };
        self.list(key)?.iter().map(integer).collect()
    }

    /// The names of the tensors in the file, in no order.
    pub fn tensor_names(&self) -> impl Iterator<Item = &str> {
        self.content.tensor_infos.keys().map(String::as_str)
    }

    /// Reads one tensor as `f32`, which must have the dimensions `shape` (outermost first).
    ///
    /// # Errors
    ///
    /// When the tensor is missing, has another shape, or cannot be read.
    pub fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let missing = || ModelError::MissingTensor { name: name.to_owned() };
        let info = self.content.tensor_infos.get(name).ok_or_else(missing)?;
        if info.shape.dims() != shape {
            let found = info.shape.dims().to_vec();
            return Err(ModelError::Shape { name: name.to_owned(), found, expected: shape.to_vec() });
        }
        let quantised = self.content.tensor(&mut self.reader, name, &Device::Cpu)?;
        Ok(quantised.dequantize(&Device::Cpu)?)
    }

    fn list(&self, key: &str) -> Result<&[Value], ModelError> {
        match self.value(key)? {
            Value::Array(values) => Ok(values),
            _ => Err(wrong_type(key, "a list")),
        }
    }

    fn value(&self, key: &str) -> Result<&Value, ModelError> {
        let missing = || ModelError::MissingKey { key: key.to_owned() };
        self.content.metadata.get(key).ok_or_else(missing)
    }
}

/// Whether a tensor lies inside a file of `length` bytes.
fn fits(info: &TensorInfo, data_offset: u64, length: u64) -> bool {
    let elements = info.shape.dims().iter().try_fold(1_u64, |n, &dim| n.checked_mul(dim as u64));
    let (block, block_bytes) = (info.ggml_dtype.block_size() as u64, info.ggml_dtype.type_size() as u64);
    let end = elements
        .map(|elements| elements.div_ceil(block))
        .and_then(|blocks| blocks.checked_mul(block_bytes))
        .and_then(|bytes| bytes.checked_add(info.offset))
        .and_then(|end| end.checked_add(data_offset));
    end.is_some_and(|end| end <= length)
}

fn damaged(path: &str, reason: String) -> ModelError {
    ModelError::Truncated { path: path.to_owned(), reason }
}

fn wrong_type(key: &str, expected: &'static str) -> ModelError {
    ModelError::Metadata { key: key.to_owned(), expected }
}
