function decodeUplink(input) { return {errors: ['unknown port']}; }
