function Decoder(bytes, port) { return {level: bytes.length * 10}; }
