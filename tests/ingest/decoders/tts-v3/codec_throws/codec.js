function decodeUplink(input) { return {data: input.bytes[90].x}; }
