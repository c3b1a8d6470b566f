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
use std::panic::{AssertUnwindSafe, catch_unwind};
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
        let content = read_header(&mut reader).map_err(|reason| damaged(&name, reason))?;
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
        let texts = self.list(key)?.iter().map(|value| match value {
            Value::String(text) => Ok(text.as_str()),
            _ => Err(wrong_type(key, "a list of texts")),
        });
        texts.collect()
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

/// Reads the metadata and the tensor table.
fn read_header(reader: &mut BufReader<File>) -> Result<Content, String> {
    // candle divides by the alignment that the file gives, whatever it is.
    let read = catch_unwind(AssertUnwindSafe(|| Content::read(reader)));
    let content = read.map_err(|_| "its alignment is zero".to_owned())?;
    content.map_err(|error| error.to_string())
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

#[cfg(test)]
pub(crate) mod fixture {
    //! A Llama with random weights and a byte-level vocabulary, small enough to write for every test.

    use candle_core::quantized::gguf_file::{Value, write};
    use candle_core::quantized::{GgmlDType, QTensor};
    use candle_core::{Device, Tensor};
    use std::fs::File;
    use std::path::PathBuf;
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    pub(crate) const LAYERS: usize = 2;
    pub(crate) const WIDTH: usize = 24;
    pub(crate) const HEADS: usize = 4;
    pub(crate) const KV_HEADS: usize = 2;
    pub(crate) const FEED_FORWARD: usize = 40;
    pub(crate) const CONTEXT: usize = 32;

    /// Metadata, for a test to change.
    pub(crate) fn metadata() -> Vec<(&'static str, Value)> {
        let count = |n: usize| Value::U32(n as u32);
        let texts = |texts: Vec<String>| Value::Array(texts.into_iter().map(Value::String).collect());
        let tokens = tokens();
        let control = |token: &String| Value::I32(if token.starts_with("<|") { 3 } else { 1 });
        vec![
            ("general.architecture", Value::String("llama".into())),
            ("llama.block_count", count(LAYERS)),
            ("llama.context_length", count(CONTEXT)),
            ("llama.embedding_length", count(WIDTH)),
            ("llama.feed_forward_length", count(FEED_FORWARD)),
            ("llama.attention.head_count", count(HEADS)),
            ("llama.attention.head_count_kv", count(KV_HEADS)),
            ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
            ("llama.rope.freq_base", Value::F32(100.0)),
            ("tokenizer.ggml.model", Value::String("gpt2".into())),
            ("tokenizer.ggml.pre", Value::String("smollm".into())),
            ("tokenizer.ggml.token_type", Value::Array(tokens.iter().map(control).collect())),
            ("tokenizer.ggml.tokens", texts(tokens)),
            ("tokenizer.ggml.merges", texts(vec!["t h".into(), "th e".into(), "Ġ the".into()])),
        ]
    }

    /// Two control tokens, every byte, three merged tokens.
    pub(crate) fn tokens() -> Vec<String> {
        let mut bytes: Vec<String> = ByteLevel::alphabet().into_iter().map(String::from).collect();
        bytes.sort();
        let merged = ["th", "the", "Ġthe"].map(str::to_owned);
        ["<|im_start|>", "<|im_end|>"].map(str::to_owned).into_iter().chain(bytes).chain(merged).collect()
    }

    /// Names and dimensions of the tensors.
    pub(crate) fn shapes() -> Vec<(String, Vec<usize>)> {
        let kv = WIDTH / HEADS * KV_HEADS;
        let mut shapes = vec![
            ("token_embd.weight".to_owned(), vec![tokens().len(), WIDTH]),
            ("output_norm.weight".to_owned(), vec![WIDTH]),
        ];
        for layer in 0..LAYERS {
            let mut add = |part: &str, shape: &[usize]| {
                shapes.push((format!("blk.{layer}.{part}.weight"), shape.to_vec()))
            };
            add("attn_norm", &[WIDTH]);
            add("attn_q", &[WIDTH, WIDTH]);
            add("attn_k", &[kv, WIDTH]);
            add("attn_v", &[kv, WIDTH]);
            add("attn_output", &[WIDTH, WIDTH]);
            add("ffn_norm", &[WIDTH]);
            add("ffn_gate", &[FEED_FORWARD, WIDTH]);
            add("ffn_up", &[FEED_FORWARD, WIDTH]);
            add("ffn_down", &[WIDTH, FEED_FORWARD]);
        }
        shapes
    }

    /// The weights of one tensor: scattered numbers, the same in every run.
    pub(crate) fn weights(name: &str, length: usize) -> Vec<f32> {
        let seed = name.bytes().fold(7_u32, |seed, byte| seed.wrapping_mul(31).wrapping_add(u32::from(byte)));
        let scatter = |i: usize| ((seed % 1000) as f32 + i as f32 * 12.9898).sin() * 437.585;
        (0..length).map(|i| scatter(i) - scatter(i).floor() - 0.5).collect()
    }

    /// Writes a GGUF file for the test `name`.
    pub(crate) fn file(name: &str, metadata: &[(&str, Value)], shapes: &[(String, Vec<usize>)]) -> PathBuf {
        let tensor = |(name, shape): &(String, Vec<usize>)| {
            let values = weights(name, shape.iter().product());
            let tensor = Tensor::from_vec(values, shape.as_slice(), &Device::Cpu).expect("a tensor");
            QTensor::quantize(&tensor, GgmlDType::F32).expect("a tensor for a file")
        };
        let tensors: Vec<QTensor> = shapes.iter().map(tensor).collect();
        let named: Vec<_> = shapes.iter().map(|(name, _)| name.as_str()).zip(&tensors).collect();
        let metadata: Vec<_> = metadata.iter().map(|(key, value)| (*key, value)).collect();
        let path = std::env::temp_dir().join(format!("taggant-{}-{name}.gguf", std::process::id()));
        write(&mut File::create(&path).expect("a temporary file"), &metadata, &named).expect("a GGUF file");
        path
    }
}

#[cfg(test)]
mod tests {
    use super::{Gguf, fixture};
    use crate::ModelError;
    use crate::llama::Llama;
    use candle_core::quantized::gguf_file::Value;
    use std::fs;

    /// The error of opening a fixture whose metadata were changed, or that lacks a tensor.
    fn open_error(name: &str, change: impl FnOnce(&mut Vec<(&str, Value)>), tensors: usize) -> ModelError {
        let mut metadata = fixture::metadata();
        change(&mut metadata);
        let path = fixture::file(name, &metadata, &fixture::shapes()[..tensors]);
        let error = Llama::open(&path).expect_err("a file that no model can come from");
        fs::remove_file(path).expect("the temporary file is there");
        error
    }

    fn set(metadata: &mut [(&str, Value)], key: &str, value: Value) {
        metadata.iter_mut().find(|(name, _)| *name == key).expect("a key of the fixture").1 = value;
    }

    #[test]
    fn a_file_of_another_kind_is_told_apart() {
        let path = std::env::temp_dir().join(format!("taggant-{}-text.gguf", std::process::id()));
        for content in ["", "GG", "PK\u{3}\u{4} a zip file"] {
            fs::write(&path, content).expect("a temporary file");
            assert!(matches!(Gguf::open(&path), Err(ModelError::NotGguf { .. })), "{content:?}");
        }
        fs::remove_file(&path).expect("the temporary file is there");
        assert!(matches!(Gguf::open(&path), Err(ModelError::Io { .. })));
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let path = fixture::file("cut", &fixture::metadata(), &fixture::shapes());
        let whole = fs::read(&path).expect("the fixture");
        assert!(Gguf::open(&path).is_ok());
        for length in (4..whole.len() - 64).step_by(97) {
            fs::write(&path, &whole[..length]).expect("a temporary file");
            assert!(matches!(Gguf::open(&path), Err(ModelError::Truncated { .. })), "cut to {length} bytes");
        }
        fs::remove_file(path).expect("the temporary file is there");
    }

    #[test]
    fn damaged_bytes_never_panic() {
        let path = fixture::file("damaged", &fixture::metadata(), &fixture::shapes());
        let whole = fs::read(&path).expect("the fixture");
        for at in (4..2000).step_by(5) {
            let mut damaged = whole.clone();
            damaged[at] = 0xff;
            fs::write(&path, damaged).expect("a temporary file");
            let _opened = Llama::open(&path);
        }
        fs::remove_file(path).expect("the temporary file is there");
    }

    #[test]
    fn an_alignment_of_zero_is_refused() {
        let error =
            open_error("alignment", |metadata| metadata.push(("general.alignment", Value::U32(0))), 20);
        assert!(matches!(error, ModelError::Truncated { .. }), "{error}");
    }

    #[test]
    fn another_architecture_is_named() {
        let phi = Value::String("phi3".into());
        let error = open_error("architecture", |metadata| set(metadata, "general.architecture", phi), 20);
        assert!(matches!(error, ModelError::Architecture { found } if found == "phi3"));
    }

    #[test]
    fn missing_and_wrong_metadata_are_named() {
        let error =
            open_error("missing", |metadata| metadata.retain(|(key, _)| !key.ends_with("block_count")), 20);
        assert!(matches!(error, ModelError::MissingKey { key } if key == "llama.block_count"));
        let text = Value::String("two".into());
        let error = open_error("type", |metadata| set(metadata, "llama.block_count", text), 20);
        assert!(matches!(error, ModelError::Metadata { key, .. } if key == "llama.block_count"));
        let error =
            open_error("kv", |metadata| set(metadata, "llama.attention.head_count_kv", Value::U32(3)), 20);
        assert!(matches!(error, ModelError::Metadata { key, .. } if key == "llama.attention.head_count_kv"));
    }

    #[test]
    fn missing_unknown_and_misshapen_tensors_are_named() {
        let error = open_error("tensor", |_| (), 19);
        assert!(matches!(error, ModelError::MissingTensor { name } if name == "blk.1.ffn_down.weight"));
        let error = open_error("layers", |metadata| set(metadata, "llama.block_count", Value::U32(1)), 20);
        assert!(matches!(error, ModelError::UnknownTensor { name } if name.starts_with("blk.1.")));
        let error =
            open_error("shape", |metadata| set(metadata, "llama.feed_forward_length", Value::U32(48)), 20);
        assert!(matches!(error, ModelError::Shape { name, .. } if name == "blk.0.ffn_gate.weight"));
    }
}
