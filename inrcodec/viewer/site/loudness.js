// The gain of audio: files store it as a level, one signed byte in quarter octaves (inrcodec/codecs/loudness.py).

const LEVELS_PER_OCTAVE = 4;

export const gainOf = (level) => 2 ** (level / LEVELS_PER_OCTAVE);

// Read the gain by which decoded values are multiplied; only files with an audio prior store one.
export const readGain = (reader, prior) => (prior.head.kind === "audio" ? gainOf(reader.signedByte("level")) : 1);
