mod machine;
mod stream;
