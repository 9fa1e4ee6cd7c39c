// The network itself, in LiteRT (com.google.ai.edge.litert:litert, or org.tensorflow:tensorflow-lite: one interface).
package pocketface

import android.content.res.AssetManager
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import java.io.FileInputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.MappedByteBuffer
import java.nio.channels.FileChannel
import org.tensorflow.lite.DataType
import org.tensorflow.lite.Interpreter

/**
 * Embeds faces: `FaceEmbedder(context.assets, FILES[0]).use { it.embed(photo, anchors(eyes, nose, mouth)) }`.
 * It takes milliseconds: call it off the main thread, `withContext(Dispatchers.Default)`; one thread at a time.
 */
class FaceEmbedder(private val assets: AssetManager, private val file: FaceFile, threads: Int = 1) : AutoCloseable {
    private val interpreter = Interpreter(mapped(file.name), Interpreter.Options().setNumThreads(threads))

    /** Gives the normalised embedding of a face in an upright photo; `anchors` are made of a detector's landmarks. */
    fun embed(photo: Bitmap, anchors: List<Anchor>): FloatArray = embed(preprocess(align(photo, anchors)))

    /** Gives the normalised embedding of a crop of HEIGHT x WIDTH pixels, aligned to TEMPLATE. */
    fun embed(crop: Bitmap): FloatArray = embed(preprocess(pixels(crop)))

    /** Says whether two crops show one person, by the threshold that was measured for this very file. */
    fun samePerson(a: Bitmap, b: Bitmap): Boolean = samePerson(embed(a), embed(b), file.threshold)

    /** Aligns and embeds every golden face and compares: run it on each kind of phone, and after each change. */
    fun selfTest(golden: AssetManager): List<Outcome> = GOLDEN.map { face ->
        fun bytes(ending: String) = golden.open("${face.name}$ending").use { it.readBytes() }
        val cut = align(picture(bytes("-photo.png")), face.anchors)
        val expected = floats(bytes(".${file.name}.bin"))
        check(face.name, cut, pixels(picture(bytes(".png"))), floats(bytes(".nhwc.bin")), expected, file.leastCosine, ::embed)
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

    private fun picture(encoded: ByteArray): Bitmap {
        val options = BitmapFactory.Options().apply { inScaled = false }
        return checkNotNull(BitmapFactory.decodeByteArray(encoded, 0, encoded.size, options))
    }

    private fun align(photo: Bitmap, anchors: List<Anchor>): IntArray {
        val similarity = similarityOf(anchors)
        val part = partFor(similarity, photo.width, photo.height)
        return cut(pixels(photo, part), part, similarity)
    }

    private fun pixels(picture: Bitmap, part: Part = Part(0, 0, picture.width, picture.height)): IntArray {
        val hardware = picture.config == Bitmap.Config.HARDWARE // its pixels cannot be read where they are
        val readable = if (hardware) picture.copy(Bitmap.Config.ARGB_8888, false) else picture
        return IntArray(part.width * part.height).also {
            readable.getPixels(it, 0, part.width, part.left, part.top, part.width, part.height)
        }
    }

    /** Maps the file into memory: nothing is copied, and all that embed share its pages. */
    private fun mapped(name: String): MappedByteBuffer = assets.openFd(name).use { asset ->
        FileInputStream(asset.fileDescriptor).use { stream ->
            stream.channel.map(FileChannel.MapMode.READ_ONLY, asset.startOffset, asset.declaredLength)
        }
    }
}
