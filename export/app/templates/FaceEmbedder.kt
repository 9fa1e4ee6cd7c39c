// The network itself, in LiteRT (org.tensorflow:tensorflow-lite or com.google.ai.edge.litert:litert, one interface).
// Put models/*.tflite and golden/* into src/main/assets, and keep .tflite uncompressed (aaptOptions noCompress).
package pocketface

import android.content.Context
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.tensorflow.lite.DataType
import org.tensorflow.lite.Interpreter

/** Embeds aligned crops: `FaceEmbedder(context, FILES[0]).use { it.embed(crop) }`. One thread at a time. */
class FaceEmbedder(private val context: Context, private val file: FaceFile, threads: Int = 1) : AutoCloseable {
    private val interpreter = Interpreter(asset(file.name).direct(), Interpreter.Options().setNumThreads(threads))

    /** Gives the normalised embedding of a crop of HEIGHT x WIDTH pixels, aligned to TEMPLATE. */
    fun embed(crop: Bitmap): FloatArray = embed(preprocess(pixels(crop)))

    /** Says whether two crops show one person, by the threshold that was measured for this very file. */
    fun samePerson(a: Bitmap, b: Bitmap): Boolean = samePerson(embed(a), embed(b), file.threshold)

    /** Embeds every golden face and compares: run it once on each kind of phone, and after each change. */
    fun selfTest(): List<Outcome> = GOLDEN.map { face ->
        val encoded = asset("$face.png")
        val options = BitmapFactory.Options().apply { inScaled = false }
        val crop = checkNotNull(BitmapFactory.decodeByteArray(encoded, 0, encoded.size, options))
        val expected = floats(asset("$face.${file.name}.bin"))
        check(face, pixels(crop), floats(asset("$face.nhwc.bin")), expected, file.leastCosine, ::embed)
    }

    override fun close() = interpreter.close()

    private fun embed(tensor: FloatArray): FloatArray {
        val input = interpreter.getInputTensor(0)
        val output = interpreter.getOutputTensor(0)
        val given = ByteBuffer.allocateDirect(input.numBytes()).order(ByteOrder.nativeOrder())
        val got = ByteBuffer.allocateDirect(output.numBytes()).order(ByteOrder.nativeOrder())
        if (input.dataType() == DataType.INT8) {
            given.put(quantise(tensor, input.quantizationParams().scale, input.quantizationParams().zeroPoint))
        } else {
            given.asFloatBuffer().put(tensor)
        }
        given.rewind()
        interpreter.run(given, got)
        got.rewind()
        if (output.dataType() == DataType.INT8) {
            val bytes = ByteArray(output.numBytes()).also { got.get(it) }
            val steps = output.quantizationParams()
            return normalise(dequantise(bytes, steps.scale, steps.zeroPoint))
        }
        return normalise(FloatArray(output.numBytes() / 4).also { got.asFloatBuffer().get(it) })
    }

    private fun asset(name: String): ByteArray = context.assets.open(name).use { it.readBytes() }

    private fun pixels(crop: Bitmap): IntArray =
        IntArray(crop.width * crop.height).also { crop.getPixels(it, 0, crop.width, 0, 0, crop.width, crop.height) }

    private fun ByteArray.direct(): ByteBuffer =
        ByteBuffer.allocateDirect(size).order(ByteOrder.nativeOrder()).also { it.put(this).rewind() }
}
